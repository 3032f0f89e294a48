// Go's net/http server, for our client's tests: on a free port and on the Unix socket that is the first argument.
package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.URL.Query().Get(name))
	return n
}

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "hello")
	})
	mux.HandleFunc("/peer", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, r *http.Request) { // with trailers
		w.Header().Set("Trailer", "X-Count")
		n := number(r, "n")
		for i := 0; i < n; i++ {
			fmt.Fprintf(w, "piece %d\n", i)
			w.(http.Flusher).Flush()
		}
		w.Header().Set("X-Count", strconv.Itoa(n))
	})
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, strings.Repeat("squeezed ", 10_000))
		z.Close()
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		if n := number(r, "n"); n > 0 {
			http.Redirect(w, r, fmt.Sprintf("/redirect?n=%d", n-1), http.StatusFound)
			return
		}
		fmt.Fprint(w, r.Method)
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/echo", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		body, err := io.ReadAll(r.Body) // over HTTP/1.1 a handler that has begun to write can read no more
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Write(body)
	})
	mux.HandleFunc("/size", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v %v", n, err, r.ContentLength)
	})
	mux.HandleFunc("/refuse", func(w http.ResponseWriter, r *http.Request) { // without a look at the body
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		n := number(r, "n")
		w.Header().Set("Content-Length", strconv.Itoa(n))
		block := make([]byte, 64<<10)
		for i := range block {
			block[i] = byte(i * 7)
		}
		for n > 0 {
			m := len(block)
			if n < m {
				m = n
			}
			if _, err := w.Write(block[:m]); err != nil {
				return
			}
			n -= m
		}
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "hinted")
	})
	mux.HandleFunc("/last", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprint(w, "last")
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, r *http.Request) { // a body that ends too early
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	})

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	local, err := net.Listen("unix", os.Args[1])
	if err != nil {
		panic(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(local)
	fmt.Fprintf(os.Stderr, "listening on http://%s\n", tcp.Addr())
	server.Serve(tcp)
}
