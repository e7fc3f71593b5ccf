// Flood sends requests with garbage tokens, each of them another, until its
// standard input ends. Then it writes what became of them, as JSON.
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

func main() {
	f := new(flood)
	flag.StringVar(&f.address, "address", "", "server")
	connections := flag.Int("connections", 1, "how many there are")
	rate := flag.Float64("rate", 1, "requests a second, of all, at most")
	flag.BoolVar(&f.fresh, "fresh", false, "open a connection for each request")
	flag.Parse()
	f.pause = time.Duration(float64(*connections) / *rate * float64(time.Second))
	for i := range *connections {
		go func() {
			time.Sleep(f.pause * time.Duration(i) / time.Duration(*connections)) // not all at the same moment
			for {
				f.connection()
			}
		}()
	}
	io.Copy(io.Discard, os.Stdin)
	counts := map[string]int64{} // some may still wait for an answer
	for code := range f.codes {
		if n := f.codes[code].Load(); n > 0 {
			counts[fmt.Sprint(code)] = n
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(counts); err != nil {
		log.Fatal(err)
	}
}

type flood struct {
	address string
	fresh   bool
	pause   time.Duration     // between two requests of a connection
	codes   [600]atomic.Int64 // 0: the connection failed
}

// connection opens one and sends requests until it ends.
func (f *flood) connection() {
	conn, err := tls.Dial("tcp", f.address, &tls.Config{InsecureSkipVerify: true}) // of a server that the benchmark started
	if err != nil {
		f.codes[0].Add(1)
		time.Sleep(f.pause)
		return
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for {
		start := time.Now()
		code, again := ask(conn, answers)
		f.codes[code].Add(1)
		time.Sleep(f.pause - time.Since(start))
		if !again || f.fresh {
			return
		}
	}
}

func ask(conn io.Writer, answers *bufio.Reader) (code int, again bool) {
	_, err := fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: n1\r\nAuthorization: Bearer %s\r\n\r\n", rand.Text()+rand.Text())
	if err != nil {
		return 0, false
	}
	answer, err := http.ReadResponse(answers, nil)
	if err != nil {
		return 0, false
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err == nil && !answer.Close
}
