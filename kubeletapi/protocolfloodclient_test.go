package kubeletapi_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// A flood comes from a process of its own, so that its memory and descriptors are
// not the server's: the test's program runs itself, with what to do in the
// environment. It says "ready" once all connections are what the flood wants
// them to be, "closed" once the server has closed as many as that, goes on until its
// standard input ends, and then writes what it saw.
const floodEnv = "KUBELETAUTH_TEST_FLOOD"

func init() {
	if request := os.Getenv(floodEnv); request != "" {
		runFlood(request)
		os.Exit(0)
	}
}

// floodRequest is what the environment says.
type floodRequest struct {
	Flood, Address string
	Connections    int
}

// floodReport is what a flood saw.
type floodReport struct {
	Closed  int // connections that the server closed
	Reached int // most connections that were open at once
	Error   string
}

func runFlood(request string) {
	f := &flooder{stop: make(chan struct{}), dials: make(chan struct{}, 8)}
	if err := json.Unmarshal([]byte(request), &f.floodRequest); err != nil {
		panic(err)
	}
	go f.tell("ready", func() bool { return f.wanted >= f.Connections })
	go f.tell("closed", func() bool { return f.report.Closed >= f.Connections })
	for range f.Connections {
		f.running.Go(f.connections)
	}
	io.Copy(io.Discard, os.Stdin)
	close(f.stop)
	ended := make(chan struct{})
	go func() { f.running.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second): // the rest ends with this process
	}
	f.mu.Lock()
	json.NewEncoder(os.Stdout).Encode(f.report)
}

type flooder struct {
	floodRequest
	stop    chan struct{}
	dials   chan struct{} // bounds how many there are at once
	running sync.WaitGroup
	session session

	mu     sync.Mutex
	open   int
	wanted int // connections that are what they should be
	report floodReport
}

// tell says what is the case as soon as it is.
func (f *flooder) tell(what string, isCase func() bool) {
	for is := false; !is; time.Sleep(10 * time.Millisecond) {
		f.note(func() { is = isCase() })
	}
	fmt.Println(what)
}

func (f *flooder) stopped() bool {
	select {
	case <-f.stop:
		return true
	default:
		return false
	}
}

// pause returns false when the flood ends.
func (f *flooder) pause(d time.Duration) bool {
	select {
	case <-f.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// connections opens one after the other.
func (f *flooder) connections() {
	flood := floods[f.Flood]
	var once sync.Once
	ready := func() { once.Do(func() { f.note(func() { f.wanted++ }) }) }
	for !f.stopped() {
		conn, err := f.dial(flood.protocol)
		if err != nil {
			f.note(func() { f.report.Error = err.Error() })
			f.pause(20 * time.Millisecond)
			continue
		}
		f.note(func() { f.open++; f.report.Reached = max(f.report.Reached, f.open) })
		go func() { // writing and reading end with the flood
			<-f.stop
			conn.Close()
		}()
		flood.run(f, conn, ready)
		ready()
		f.note(func() {
			f.open--
			if !f.stopped() {
				f.report.Closed++
			}
		})
		conn.Close()
		f.pause(flood.rest)
	}
}

func (f *flooder) note(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
}

func (f *flooder) dial(protocol string) (net.Conn, error) {
	f.dials <- struct{}{}
	defer func() { <-f.dials }()
	conn, err := net.DialTimeout("tcp", f.Address, 10*time.Second)
	if err != nil || protocol == "" {
		return conn, err
	}
	client := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, // of the server under test
		NextProtos:         []string{protocol}, CurvePreferences: []tls.CurveID{tls.X25519}, ClientSessionCache: &f.session,
	})
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := client.Handshake(); err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return client, nil
}

// session is one that all connections resume, if the server lets them: thousands
// are opened faster.
type session struct {
	mu sync.Mutex
	s  *tls.ClientSessionState
}

// Get returns it.
func (s *session) Get(string) (*tls.ClientSessionState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s, s.s != nil
}

// Put takes the first there is.
func (s *session) Put(_ string, state *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.s == nil {
		s.s = state
	}
}

// floods are what is done with a connection, until the server closes it or the
// flood ends. The protocol is what TLS agrees on; without one there is no TLS.
var floods = map[string]struct {
	protocol string
	rest     time.Duration // before the next connection
	run      func(f *flooder, conn net.Conn, ready func())
}{
	"handshake": {"", 0, func(f *flooder, conn net.Conn, ready func()) {
		conn.Write([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc}) // the first bytes of a ClientHello
		ready()
		io.Copy(io.Discard, conn)
	}},
	"idle": {"http/1.1", 0, func(_ *flooder, conn net.Conn, ready func()) {
		ready()
		io.Copy(io.Discard, conn)
	}},
	"idle-answered": {"http/1.1", 0, func(_ *flooder, conn net.Conn, ready func()) {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: n1\r\n\r\n")
		conn.Read(make([]byte, 1000))
		ready()
		io.Copy(io.Discard, conn)
	}},
	"slow-header": {"http/1.1", 0, func(f *flooder, conn net.Conn, ready func()) {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: n1\r\nX-Slow: ")
		ready()
		go io.Copy(io.Discard, conn)
		for f.pause(50*time.Millisecond) && say(conn, "x") {
		}
	}},
	"slow-body": {"http/1.1", 0, func(f *flooder, conn net.Conn, ready func()) {
		io.WriteString(conn, "POST / HTTP/1.1\r\nHost: n1\r\nContent-Length: 200000\r\n\r\n")
		ready()
		go io.Copy(io.Discard, conn)
		for f.pause(50*time.Millisecond) && say(conn, "x") {
		}
	}},
	"header": {"http/1.1", 0, func(_ *flooder, conn net.Conn, ready func()) {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: n1\r\n")
		pour(conn, "X-Large: "+string(bytes.Repeat([]byte{'x'}, 1000))+"\r\n", ready)
	}},
	"body": {"http/1.1", 0, func(_ *flooder, conn net.Conn, ready func()) {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: n1\r\nContent-Length: 100000000000\r\n\r\n")
		pour(conn, string(bytes.Repeat([]byte{'x'}, 1000)), ready)
	}},
	"chunks": {"http/1.1", 0, func(_ *flooder, conn net.Conn, ready func()) {
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: n1\r\nTransfer-Encoding: chunked\r\n\r\n")
		pour(conn, "1;"+string(bytes.Repeat([]byte{'x'}, 1000))+"\r\nx\r\n", ready)
	}},
	"reset": {"h2", 0, func(f *flooder, conn net.Conn, ready func()) { // CVE-2023-44487
		h := startHTTP2(conn)
		for stream := uint32(1); f.pause(20 * time.Millisecond); {
			for range 100 {
				h.headers(stream, true, requestFields(""))
				h.frame(frameReset, 0, stream, []byte{0, 0, 0, 8})
				stream += 2
			}
			if ready(); h.Flush() != nil {
				return
			}
		}
	}},
	"continuation": {"h2", 0, func(f *flooder, conn net.Conn, ready func()) { // CVE-2023-45288
		h := startHTTP2(conn)
		h.headers(1, false, requestFields(""))
		field := append([]byte{0, 1, 'x', 100}, bytes.Repeat([]byte{'x'}, 100)...)
		for f.pause(100*time.Microsecond) && h.frame(frameContinuation, 0, 1, bytes.Repeat(field, 100)) && h.Flush() == nil {
			ready()
		}
	}},
	"ping": {"h2", 0, func(f *flooder, conn net.Conn, ready func()) { // CVE-2019-9512; the answers are not read
		h := newHTTP2(conn)
		for f.pause(20 * time.Millisecond) {
			for range 1000 {
				h.frame(framePing, 0, 0, make([]byte, 8))
			}
			if ready(); h.Flush() != nil {
				return
			}
		}
	}},
	"settings": {"h2", 0, func(f *flooder, conn net.Conn, ready func()) { // CVE-2019-9515
		h := newHTTP2(conn)
		for f.pause(20 * time.Millisecond) {
			for range 100 {
				h.frame(frameSettings, 0, 0, nil)
			}
			if ready(); h.Flush() != nil {
				return
			}
		}
	}},
	"window": {"h2", time.Second, func(_ *flooder, conn net.Conn, ready func()) { // CVE-2019-9517: answers are asked for, and not taken
		h := newHTTP2(conn, 4, 0)
		h.streams(250, "")
		ready()
		io.Copy(io.Discard, conn)
	}},
	"token": {"h2", time.Second, func(_ *flooder, conn net.Conn, ready func()) { // one token, reviewed once
		h := newHTTP2(conn)
		h.streams(250, "Bearer garbage")
		ready()
		io.Copy(io.Discard, conn)
	}},
}

func say(conn net.Conn, text string) bool {
	_, err := io.WriteString(conn, text)
	return err == nil
}

// pour writes text again and again, as fast as the server takes it.
func pour(conn net.Conn, text string, ready func()) {
	go io.Copy(io.Discard, conn)
	for say(conn, text) {
		ready()
	}
}

// http2Writer writes frames (RFC 9113, section 4.1).
type http2Writer struct{ *bufio.Writer }

const (
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameContinuation = 9
)

// newHTTP2 sends the preface and one setting, if any: its name and its value.
func newHTTP2(conn net.Conn, setting ...uint32) http2Writer {
	h := http2Writer{bufio.NewWriter(conn)}
	h.WriteString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	var payload []byte
	if len(setting) == 2 {
		payload = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, uint16(setting[0])), setting[1])
	}
	h.frame(frameSettings, 0, 0, payload)
	return h
}

// startHTTP2 takes the answers too.
func startHTTP2(conn net.Conn) http2Writer {
	go io.Copy(io.Discard, conn)
	return newHTTP2(conn)
}

func (h http2Writer) frame(kind, flags byte, stream uint32, payload []byte) bool {
	head := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	h.Write(binary.BigEndian.AppendUint32(head, stream))
	_, err := h.Write(payload)
	return err == nil
}

// headers sends a request without a body; end says that no more fields come.
func (h http2Writer) headers(stream uint32, end bool, fields []byte) bool {
	const endStream, endHeaders = 1, 4
	flags := byte(endStream)
	if end {
		flags |= endHeaders
	}
	return h.frame(frameHeaders, flags, stream, fields)
}

func (h http2Writer) streams(n int, authorization string) {
	for i := range n {
		h.headers(uint32(2*i+1), true, requestFields(authorization))
	}
	h.Flush()
}

// requestFields are GET https://n1/ in HPACK (RFC 7541, appendix A).
func requestFields(authorization string) []byte {
	fields := []byte{0x80 | 2, 0x80 | 7, 0x80 | 4, 1, 2, 'n', '1'}
	if authorization != "" {
		fields = append(fields, 0x0f, 23-15, byte(len(authorization)))
		fields = append(fields, authorization...)
	}
	return fields
}

func (r floodReport) String() string {
	text := strconv.Itoa(r.Closed) + " connections closed, at most " + strconv.Itoa(r.Reached) + " open"
	if r.Error != "" {
		text += ": " + r.Error
	}
	return text
}
