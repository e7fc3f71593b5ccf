package kubeletapi

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// HTTP/2 frames as no client would write them. What is no request of one meaning
// ends its stream or the connection; what passes was allowed as the handler
// sees it, to the sender of that stream.
func TestHTTP2Wire(t *testing.T) {
	k := newKeep(t)
	address := serveRows(t, k.server)
	const (
		head  = ":method GET|:scheme https|:authority n|"
		jane  = head + ":path /stats|authorization Bearer token-of-jane"
		root  = head + ":path /x|authorization Bearer token-of-root"
		stats = "jane get stats /stats"
	)
	for _, tt := range []struct{ name, sent, want string }{ // streams apart by ~, each of headers and, after a plus, trailers; * is any answer that nobody is served by
		{"plain", jane, "200|" + stats},
		{"cookie and authorization apart", jane + "|cookie a=b|cookie c=d", "200|" + stats},
		{"no path", ":method GET|:scheme https|:authority n|authorization Bearer token-of-root", "reset"},
		{"empty path", head + ":path |authorization Bearer token-of-root", "reset"},
		{"path without a slash", head + ":path stats|authorization Bearer token-of-jane", "reset"},
		{"path with dots and no slash", head + ":path ../exec|authorization Bearer token-of-root", "reset"},
		{"absolute path", head + ":path https://m/exec|authorization Bearer token-of-jane", "403"},
		{"opaque path", head + ":path https:stats|authorization Bearer token-of-jane", "307"},
		{"star", head + ":path *|authorization Bearer token-of-root", "400"},
		{"two paths", head + ":path /stats|:path /exec|authorization Bearer token-of-jane", "reset"},
		{"two methods", ":method GET|:method POST|:scheme https|:authority n|:path /stats|authorization Bearer token-of-jane", "reset"},
		{"pseudo header after others", ":method GET|:scheme https|:authority n|authorization Bearer token-of-jane|:path /stats", "reset"},
		{"unknown pseudo header", head + ":path /stats|:user root|authorization Bearer token-of-jane", "reset"},
		{"response pseudo header", head + ":path /stats|:status 200|authorization Bearer token-of-jane", "reset"},
		{"protocol", ":method CONNECT|:protocol websocket|:scheme https|:authority n|:path /x|authorization Bearer token-of-root", "reset"},
		{"CONNECT", ":method CONNECT|:authority n:443|authorization Bearer token-of-jane", "403"},
		{"CONNECT, allowed", ":method CONNECT|:authority n:443|authorization Bearer token-of-root", "200|root  proxy "},
		{"CONNECT with a path", ":method CONNECT|:scheme https|:authority n|:path /stats|authorization Bearer token-of-root", "reset"},
		{"another authority", ":method GET|:scheme https|:authority evil|:path /stats|host good|authorization Bearer token-of-jane", "200|" + stats},
		{"authority with a path", ":method GET|:scheme https|:authority n/exec|:path /stats|authorization Bearer token-of-jane", "200|" + stats},
		{"no authority", ":method GET|:scheme https|:path /stats|authorization Bearer token-of-jane", "200|" + stats},
		{"another scheme", ":method GET|:scheme ftp|:authority n|:path /stats|authorization Bearer token-of-jane", "reset"},
		{"no scheme", ":method GET|:authority n|:path /stats|authorization Bearer token-of-jane", "reset"},
		{"method with a space", ":method GET /exec|:scheme https|:authority n|:path /stats|authorization Bearer token-of-jane", "403"},
		{"method with a line end", ":method GET\r\nx: y|:scheme https|:authority n|:path /stats|authorization Bearer token-of-jane", "reset"},
		{"path with a line end", head + ":path /stats\r\nx: y|authorization Bearer token-of-jane", "reset"},
		{"path with a space", head + ":path /stats HTTP/1.1|authorization Bearer token-of-jane", "403"},
		{"path with a NUL", head + ":path /stats\x00|authorization Bearer token-of-jane", "reset"},
		{"fragment", head + ":path /stats#/../exec|authorization Bearer token-of-jane", "307"},
		{"encoded dots", head + ":path /stats/%2e%2e/exec|authorization Bearer token-of-jane", "400"},
		{"dots", head + ":path /stats/../exec|authorization Bearer token-of-jane", "307"},
		{"two slashes", head + ":path //stats|authorization Bearer token-of-jane", "307"},
		{"backslash", head + `:path /stats\exec` + "|authorization Bearer token-of-jane", "400"},
		{"upper case name", head + ":path /stats|Authorization Bearer token-of-jane", "reset"},
		{"name with a colon", head + ":path /stats|a:b c|authorization Bearer token-of-jane", "reset"},
		{"name with a line end", head + ":path /stats|a\r\nb c|authorization Bearer token-of-jane", "reset"},
		{"value with a line end", head + ":path /stats|a b\r\nauthorization: Bearer token-of-root", "reset"},
		{"transfer-encoding", jane + "|transfer-encoding chunked", "400"},
		{"connection", jane + "|connection authorization", "400"},
		{"upgrade", jane + "|upgrade websocket", "400"},
		{"length without a body", jane + "|content-length 30", "200|" + stats},
		{"two lengths", jane + "|content-length 0|content-length 1", "200|" + stats},
		{"a trailer", ":method POST|:scheme https|:authority n|:path /x|authorization Bearer token-of-root +x-remote-user jane", "200|root create proxy /x"},
		{"a credential in the trailer", ":method POST|:scheme https|:authority n|:path /x|trailer authorization +authorization Bearer token-of-root", "*"}, // 401 or reset, whichever is first
		{"a path in the trailer", ":method POST|:scheme https|:authority n|:path /stats|authorization Bearer token-of-jane +:path /exec", "*"},
		{"two credentials", head + ":path /x|authorization Bearer token-of-jane|authorization Bearer token-of-root", "403"},
		{"a token among protocols", head + ":path /x|sec-websocket-protocol TOKEN, v4", "401"},
		{"headers without end", head + ":path /stats|authorization Bearer " + strings.Repeat("x", 80<<10), "end"},
		{"anonymous", head + ":path /metrics", "200|system:anonymous get metrics /metrics"},
		{"anonymous elsewhere", head + ":path /metrics/x", "401"},

		// Streams share the connection, and its slot.
		{"two tokens", root + "~" + jane + "~" + head + ":path /exec|authorization Bearer token-of-jane", "200 200 403|root get proxy /x|" + stats},
		{"a token, and none", root + "~" + head + ":path /x", "200 401|root get proxy /x"},
		{"a token, and none where anonymous is", root + "~" + head + ":path /metrics", "200 200|root get proxy /x|system:anonymous get metrics /metrics"},
		{"a token, and half of it", root + "~" + head + ":path /x|authorization Bearer token-of-roo", "200 401|root get proxy /x"},
	} {
		got, saw := http2Wire(t, address, tt.sent), tail(k.saw())
		if tt.want == "*" {
			got = "*"
		}
		if got+saw != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got+saw, tt.want)
		}
	}
}

const (
	http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	frameData, frameHeaders, frameReset, frameSettings, frameGoAway, frameContinuation = 0, 1, 3, 4, 7, 9

	flagEndStream, flagEndHeaders = 1, 4
)

// http2Frame encodes a frame of RFC 9113, section 4.1.
func http2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	return append(b, payload...)
}

// http2Block encodes headers as literals that are not indexed (RFC 7541, section
// 6.2.2).
func http2Block(headers string) (b []byte) {
	for header := range strings.SplitSeq(headers, "|") {
		name, value, _ := strings.Cut(header, " ")
		b = append(b, 0)
		b = appendHTTP2String(b, name)
		b = appendHTTP2String(b, value)
	}
	return b
}

func appendHTTP2String(b []byte, s string) []byte {
	if len(s) < 127 {
		b = append(b, byte(len(s)))
	} else {
		b = binary.AppendUvarint(append(b, 127), uint64(len(s)-127))
	}
	return append(b, s...)
}

// http2Headers encodes the frames of a row's stream.
func http2Headers(row string, stream uint32) (frames []byte) {
	const most = 16 << 10
	for i, headers := range strings.Split(strings.ReplaceAll(row, "TOKEN", "base64url.bearer.authorization.k8s.io."+encodedRootsToken), " +") {
		block, kind, flags := http2Block(headers), byte(frameHeaders), byte(flagEndStream)
		if i == 0 && strings.Contains(row, " +") {
			flags = 0
		}
		for len(block) > most {
			frames = append(frames, http2Frame(kind, flags, stream, block[:most])...)
			block, kind, flags = block[most:], frameContinuation, 0
		}
		frames = append(frames, http2Frame(kind, flags|flagEndHeaders, stream, block)...)
	}
	return frames
}

// http2Wire sends the streams of a row, one after the other's answer, on a
// connection of its own, and returns the codes; or reset or end, for what the
// server did to the stream or the connection in place of an answer.
func http2Wire(t *testing.T, address, row string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	noTable := []byte{0, 1, 0, 0, 0, 0} // SETTINGS_HEADER_TABLE_SIZE: each code comes as a literal
	io.WriteString(conn, http2Preface+string(http2Frame(frameSettings, 0, 0, noTable)))
	var codes []string
	for i, stream := range strings.Split(row, "~") {
		id := uint32(2*i + 1)
		conn.Write(http2Headers(stream, id))
		codes = append(codes, http2Answer(conn, id))
	}
	return strings.Join(codes, " ")
}

func http2Answer(from io.Reader, stream uint32) string {
	code := ""
	for {
		header := make([]byte, 9)
		if _, err := io.ReadFull(from, header); err != nil {
			return code + "end"
		}
		length, kind, flags := binary.BigEndian.Uint32(header)>>8, header[3], header[4]
		payload := make([]byte, length)
		if _, err := io.ReadFull(from, payload); err != nil {
			return "half a frame"
		}
		switch id := binary.BigEndian.Uint32(header[5:]); {
		case kind == frameGoAway && binary.BigEndian.Uint32(payload[4:]) != 0:
			return code + "end"
		case id != stream:
		case kind == frameReset && code == "":
			return "reset"
		case kind == frameHeaders && code == "":
			code = http2Status(payload)
		}
		if code != "" && (kind == frameHeaders || kind == frameData) && flags&flagEndStream != 0 {
			return code
		}
	}
}

// http2Status reads the code off the beginning of a block (RFC 7541, appendix A).
func http2Status(block []byte) string {
	for len(block) > 0 && block[0]>>5 == 1 { // a change of the table's size
		block = block[1:]
	}
	if code := map[byte]string{0x88: "200", 0x89: "204", 0x8c: "400", 0x8d: "404", 0x8e: "500"}[block[0]]; code != "" {
		return code
	}
	for code := 100; code < 600; code++ {
		if s := fmt.Sprint(code); bytes.HasPrefix(block[1:], append([]byte{3}, s...)) || bytes.HasPrefix(block[1:], huffmanDigits(s)) {
			return s
		}
	}
	return fmt.Sprintf("%x", block)
}

// huffmanDigits encodes a string of digits (RFC 7541, appendix B).
func huffmanDigits(s string) []byte {
	bits := ""
	for _, digit := range s {
		if digit < '3' {
			bits += fmt.Sprintf("%05b", digit-'0')
		} else {
			bits += fmt.Sprintf("%06b", digit-'3'+0b011001)
		}
	}
	bits += strings.Repeat("1", (8-len(bits)%8)%8)
	b := []byte{0x80 | byte(len(bits)/8)}
	for ; bits != ""; bits = bits[8:] {
		var c byte
		fmt.Sscanf(bits[:8], "%b", &c)
		b = append(b, c)
	}
	return b
}
