// The same service on Go's net/http, for bench/http to measure heddle against: GET /plaintext, and nothing tuned.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
)

func plaintext(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, "Hello, World!")
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "HOST:PORT to listen on")
	flag.Parse()
	http.HandleFunc("/plaintext", plaintext)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("go: listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
