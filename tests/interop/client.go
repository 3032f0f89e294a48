// Go's net/http client against heddle-httpbin, whose address is the first argument. Each check is a function; one that
// returns an error is told, and the exit status is 1.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

var base = os.Args[1]

func wantf(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func get(path string) (*http.Response, string, error) {
	response, err := http.Get(base + path)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response, string(body), err
}

func keepsAlive() error {
	var reused []bool
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = append(reused, i.Reused) }}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, path := range []string{"/plaintext", "/chunked/4", "/status/204", "/gzip", "/panic", "/bytes/100000"} {
		request, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), "GET", base+path, nil)
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	return wantf(fmt.Sprint(reused) == "[false true true true true true]", "reused: %v", reused)
}

func decodesGzip() error {
	response, body, err := get("/gzip")
	if err != nil {
		return err
	}
	return wantf(response.Uncompressed && strings.Contains(body, `"gzipped":true`), "%v %s", response.Uncompressed, body)
}

func streamsBothWays() error {
	reader, writer := io.Pipe()
	request, _ := http.NewRequest("POST", base+"/echo", reader)
	go fmt.Fprint(writer, "0\n")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for i := 0; i < 50; i++ {
		if !lines.Scan() || lines.Text() != fmt.Sprint(i) {
			return fmt.Errorf("line %d: %q %v", i, lines.Text(), lines.Err())
		}
		fmt.Fprintf(writer, "%d\n", i+1)
	}
	writer.Close()
	return nil
}

func echoesMuch() error {
	const size = 16 << 20
	hash, seed := sha256.New(), uint64(88172645463325252)
	block := make([]byte, size)
	for i := range block {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		block[i] = byte(seed)
	}
	for _, body := range []io.Reader{bytes.NewReader(block), io.MultiReader(bytes.NewReader(block))} { // with a length, and chunked
		response, err := http.Post(base+"/echo", "a/b", body)
		if err != nil {
			return err
		}
		hash.Reset()
		n, err := io.Copy(hash, response.Body)
		response.Body.Close()
		sum := sha256.Sum256(block)
		if err != nil || n != size || !bytes.Equal(hash.Sum(nil), sum[:]) || response.Header.Get("Content-Type") != "a/b" {
			return fmt.Errorf("%d bytes, %v", n, err)
		}
	}
	return nil
}

func expectsContinue() error {
	got := 0
	trace := &httptrace.ClientTrace{Got100Continue: func() { got++ }}
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	defer client.CloseIdleConnections()
	send := func(path string, size int) (int, error) {
		request, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), "POST", base+path, bytes.NewReader(make([]byte, size)))
		request.Header.Set("Expect", "100-continue")
		response, err := client.Do(request)
		if err != nil {
			return 0, err
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response.StatusCode, nil
	}
	if code, err := send("/echo", 1000); err != nil || code != 200 || got != 1 {
		return fmt.Errorf("%d %v, told %d times", code, err, got)
	}
	code, err := send("/echo", 65<<20) // more than --max-body: refused before it is sent
	return wantf(err == nil && code == 413 && got == 1, "%d %v, told %d times", code, err, got)
}

func sendsTrailers() error {
	request, _ := http.NewRequest("POST", base+"/anything", io.MultiReader(strings.NewReader("body")))
	request.Header.Set("Content-Type", "text/plain")
	request.Trailer = http.Header{"X-After": {"1"}}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var shown struct {
		Data    string
		Headers map[string]string
	}
	if err := json.NewDecoder(response.Body).Decode(&shown); err != nil {
		return err
	}
	return wantf(shown.Data == "body" && shown.Headers["X-After"] == "", "%v", shown)
}

func redirectsAndCookies() error {
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar}
	response, err := client.Get(base + "/cookies/set?a=1&b=2")
	if err != nil {
		return err
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	where, _ := url.Parse(base)
	if string(body) != `{"cookies":{"a":"1","b":"2"}}` || len(jar.Cookies(where)) != 2 {
		return fmt.Errorf("%s %v", body, jar.Cookies(where))
	}
	response, _, err = get("/redirect/8")
	if err != nil || response.Request.URL.Path != "/get" {
		return fmt.Errorf("%v", err)
	}
	response, err = client.Post(base+"/redirect-to?url=/echo&status_code=307", "text/plain", strings.NewReader("again"))
	if err != nil {
		return err
	}
	body, _ = io.ReadAll(response.Body)
	response.Body.Close()
	return wantf(string(body) == "again", "%s", body)
}

func cancels() error {
	for _, path := range []string{"/delay/60000", "/drip?duration=60", "/sse?interval=10000"} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		request, _ := http.NewRequestWithContext(ctx, "GET", base+path, nil)
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			response.Body.Close()
		}
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s: %v", path, err)
		}
	}
	return nil
}

func uploadsForms() error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	form.WriteField("a", "1")
	file, _ := form.CreateFormFile("f", "name.bin")
	file.Write(make([]byte, 300_000))
	form.Close()
	response, err := http.Post(base+"/upload", form.FormDataContentType(), &body)
	if err != nil {
		return err
	}
	text, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if !strings.Contains(string(text), `"filename":"name.bin","name":"f","size":300000`) {
		return fmt.Errorf("%s", text)
	}
	response, err = http.PostForm(base+"/post", url.Values{"k": {"v &=", "w"}})
	if err != nil {
		return err
	}
	text, _ = io.ReadAll(response.Body)
	response.Body.Close()
	return wantf(strings.Contains(string(text), `"form":{"k":["v &=","w"]}`), "%s", text)
}

func asksManyAtOnce() error {
	var all sync.WaitGroup
	failed := make(chan error, 64)
	for i := 0; i < 64; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			for k := 0; k < 10; k++ {
				if response, body, err := get(fmt.Sprintf("/range/%d", i*100+k)); err != nil || response.StatusCode != 200 || len(body) != i*100+k {
					failed <- fmt.Errorf("%d: %v", i, err)
					return
				}
			}
		}(i)
	}
	all.Wait()
	close(failed)
	return <-failed
}

// What our server writes, through a strict reader: names and framing, one after the other on one connection.
func answersOnTheWire() error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	paths := []string{"/plaintext", "/chunked/3", "/status/304", "/range/9000", "/deflate", "/status/404"}
	for _, path := range paths {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	}
	reader := bufio.NewReader(conn)
	request := &http.Request{Method: "GET"}
	for _, path := range paths {
		response, err := http.ReadResponse(reader, request)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if _, err := httputil.DumpResponse(response, true); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if _, err := http.ParseTime(response.Header.Get("Date")); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		response.Body.Close()
	}
	return wantf(reader.Buffered() == 0, "%d bytes behind the last answer", reader.Buffered())
}

// heddle-httpbin behind Go's reverse proxy.
func standsBehindAProxy() error {
	to, _ := url.Parse(base)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1
	go http.Serve(listener, proxy)
	front := "http://" + listener.Addr().String()
	// Not /echo: Go's server throws a part of the request away once an answer to it has begun.
	const size = 900_000
	response, err := http.Post(front+"/post", "text/plain", io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
	if err != nil {
		return err
	}
	var shown struct{ Data string }
	err = json.NewDecoder(response.Body).Decode(&shown)
	response.Body.Close()
	if err != nil || len(shown.Data) != size {
		return fmt.Errorf("%d %v", len(shown.Data), err)
	}
	response, err = http.Get(front + "/get")
	if err != nil {
		return err
	}
	text, _ := io.ReadAll(response.Body)
	response.Body.Close()
	return wantf(strings.Contains(string(text), `"X-Forwarded-For":"127.0.0.1"`), "%s", text)
}

func main() {
	checks := []struct {
		name  string
		check func() error
	}{
		{"keeps alive", keepsAlive}, {"decodes gzip", decodesGzip}, {"streams both ways", streamsBothWays},
		{"echoes much", echoesMuch}, {"expects continue", expectsContinue}, {"sends trailers", sendsTrailers},
		{"redirects and cookies", redirectsAndCookies}, {"cancels", cancels}, {"uploads forms", uploadsForms},
		{"asks many at once", asksManyAtOnce}, {"answers on the wire", answersOnTheWire},
		{"stands behind a proxy", standsBehindAProxy},
	}
	failed := 0
	for _, c := range checks {
		if err := c.check(); err != nil {
			failed++
			fmt.Printf("not ok %s: %v\n", c.name, err)
		} else {
			fmt.Printf("ok %s\n", c.name)
		}
	}
	if failed != 0 {
		os.Exit(1)
	}
}
