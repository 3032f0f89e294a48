// The same service on Go's net/http, for bench/transfer: GET /static/ from -root, POST /echo; nothing tuned.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
)

func echo(w http.ResponseWriter, r *http.Request) {
	// Else the server reads the whole body before the first byte of the answer goes out.
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		log.Print(err)
	}
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	io.Copy(w, r.Body)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "HOST:PORT to listen on")
	root := flag.String("root", ".", "folder of /static/")
	flag.Parse()
	http.Handle("/static/", http.StripPrefix("/static/", http.FileServer(http.Dir(*root))))
	http.HandleFunc("/echo", echo)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("go: listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
