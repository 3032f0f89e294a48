// stall_server.cc on Go's net/http, for bench/stall to measure heddle against. /block and /blocking are the same here:
// Go's system calls tell the scheduler themselves.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path"
	"strconv"
	"syscall"
	"time"
)

// Work without a call, each step needing the one before.
//
//go:noinline
func spin(x, n uint64) uint64 {
	for ; n != 0; n-- {
		x = x*3 + 1
	}
	return x
}

// How many steps make a millisecond: of several tries the fastest, which nobody disturbed.
func stepsPerMillisecond() uint64 {
	const steps = 20_000_000
	fastest := time.Hour
	for i := 0; i < 5; i++ {
		start := time.Now()
		spin(1, steps)
		if took := time.Since(start); took < fastest {
			fastest = took
		}
	}
	return steps * 1_000_000 / uint64(fastest.Nanoseconds())
}

func plaintext(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, "Hello, World!")
}

func milliseconds(r *http.Request) uint64 {
	ms, err := strconv.ParseUint(path.Base(r.URL.Path), 10, 16)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return ms
}

func block(w http.ResponseWriter, r *http.Request) {
	left := syscall.NsecToTimespec(int64(milliseconds(r)) * 1_000_000)
	for syscall.Nanosleep(&left, &left) == syscall.EINTR {
	}
	io.WriteString(w, "slept\n")
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "HOST:PORT to listen on")
	flag.Parse()
	steps := stepsPerMillisecond()
	http.HandleFunc("/plaintext", plaintext)
	http.HandleFunc("/spin/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, spin(1, steps*milliseconds(r)))
	})
	http.HandleFunc("/block/", block)
	http.HandleFunc("/blocking/", block)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("go: listening on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}
