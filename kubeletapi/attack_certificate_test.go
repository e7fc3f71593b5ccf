package kubeletapi_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"kubeletauth/kubeletapi/decisionlog"
)

// Certificates made to hurt. What crypto/tls or crypto/x509 cannot read ends the
// handshake; the rest is refused, or names whom the kubelet would say. What
// bounds it all is crypto/tls: 256 KiB for the message with the certificates,
// 64 KiB for any other of the handshake and 8,192 bits for an RSA key, and
// crypto/x509: 100 signatures and 250,000 name constraints for a chain.
func TestHostileCertificates(t *testing.T) {
	f := newForger(t)
	w := newWorld(t)
	jsonLog, decisions := new(buffer), filepath.Join(t.TempDir(), "decisions")
	events, err := decisionlog.Open(decisionlog.Config{Path: decisions, Blocking: true})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	debug := &slog.HandlerOptions{Level: slog.LevelDebug}
	w.cfg.Logger = slog.New(slog.NewMultiHandler(slog.NewTextHandler(w.log, debug), slog.NewJSONHandler(jsonLog, debug)))
	w.cfg.ClientCAFile, w.cfg.EventLogger = w.file("ca.crt", f.pem()), events
	w.start()

	const ends = "the handshake ends" // rather than an answer
	kb := func(n int) string { return strings.Repeat("x", n<<10) }
	middle := f.issue(f.ca, nil, func(c *tbs) { c.Subject = names(cn(asn1.TagUTF8String, "middle")); c.Extensions = authority })
	constrained := f.issue(f.ca, nil, func(c *tbs) {
		c.Subject = names(cn(asn1.TagUTF8String, "middle"))
		c.Extensions = append([]pkix.Extension{constraints(f, 800)}, authority...)
	})
	var many, same []*x509.Certificate
	for i := range 500 {
		many = append(many, f.issue(f.ca, nil, func(c *tbs) { c.Subject, c.Extensions = names(cn(asn1.TagUTF8String, fmt.Sprint(i))), authority }))
		if i < 200 {
			same = append(same, f.issue(f.stranger, nil, func(c *tbs) { c.Subject, c.Extensions = names(cn(asn1.TagUTF8String, "middle")), authority }))
		}
	}
	for _, tt := range []struct {
		name  string
		edit  func(c *tbs)
		chain []*x509.Certificate
		want  string // the user name, 401, or ends
	}{
		// Names.
		{"plain", subject(cn(asn1.TagUTF8String, "ann")), nil, "ann"},
		{"new line", subject(cn(asn1.TagUTF8String, "ann\nlevel=INFO user=root")), nil, "ann\nlevel=INFO user=root"},
		{"carriage return and escape", subject(cn(asn1.TagUTF8String, "a\r\x1b[2Jb\u2028c\u202ed")), nil, "a\r\x1b[2Jb\u2028c\u202ed"},
		{"NUL", subject(cn(asn1.TagUTF8String, "root\x00.ann")), nil, "root\x00.ann"},
		{"10 KB", subject(cn(asn1.TagUTF8String, kb(10))), nil, kb(10)},
		{"100 KB of new lines", subject(cn(asn1.TagUTF8String, strings.Repeat("\n", 100<<10))), nil, strings.Repeat("\n", 100<<10)},
		{"spaces", subject(cn(asn1.TagUTF8String, " ann ")), nil, " ann "},
		{"JSON and quotes", subject(cn(asn1.TagUTF8String, `","user":"root`)), nil, `","user":"root`},
		{"not UTF-8", subject(cn(asn1.TagUTF8String, "ann\xff")), nil, ends},
		{"surrogate", subject(cn(asn1.TagUTF8String, "\xed\xa0\x80")), nil, ends},
		{"printable", subject(cn(asn1.TagPrintableString, "ann")), nil, "ann"},
		{"printable with an at sign", subject(cn(asn1.TagPrintableString, "ann@x")), nil, ends},
		{"IA5", subject(cn(asn1.TagIA5String, "ann@x")), nil, "ann@x"},
		{"IA5 with a high bit", subject(cn(asn1.TagIA5String, "ann\xe9")), nil, ends},
		{"numeric", subject(cn(asn1.TagNumericString, "12 3")), nil, "12 3"},
		{"BMP", subject(cn(asn1.TagBMPString, "\x00a\x00n\x00n")), nil, "ann"},
		{"BMP of an odd length", subject(cn(asn1.TagBMPString, "\x00a\x00")), nil, ends},
		{"BMP ending in NUL", subject(cn(asn1.TagBMPString, "\x00a\x00\x00")), nil, "a"},
		{"BMP with a surrogate", subject(cn(asn1.TagBMPString, "\xd8\x00\x00a")), nil, ends},
		{"T61", subject(cn(asn1.TagT61String, "ann")), nil, "ann"},
		{"T61 with a high bit", subject(cn(asn1.TagT61String, "\xe9")), nil, "é"},
		{"universal", subject(cn(28, "\x00\x00\x00a")), nil, ends},
		{"an integer", subject(cn(asn1.TagInteger, "\x07")), nil, ends},
		{"none", subject(), nil, "401"},
		{"empty", subject(cn(asn1.TagUTF8String, "")), nil, "401"},
		{"two: the last counts", subject(cn(asn1.TagUTF8String, "root"), cn(asn1.TagUTF8String, "ann")), nil, "ann"},
		{"two, the last empty", subject(cn(asn1.TagUTF8String, "root"), cn(asn1.TagUTF8String, "")), nil, "401"},
		{"empty groups", subject(org(""), org("\n"), cn(asn1.TagUTF8String, "ann")), nil, "ann"},
		{"5,000 groups", subject(append(slicesOf(5000, org("g")), cn(asn1.TagUTF8String, "ann"))...), nil, "ann"},
		{"UID that is no string", subject(cn(asn1.TagUTF8String, "ann"), attribute{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, raw(asn1.TagInteger, "\x07")}), nil, ends},
		{"two UIDs", subject(cn(asn1.TagUTF8String, "ann"), uid("a"), uid("b\nc")), nil, "401"},

		// Numbers, versions, algorithms, extensions.
		{"negative serial", func(c *tbs) { c.SerialNumber = big.NewInt(-7) }, nil, ends},
		{"serial of zero", func(c *tbs) { c.SerialNumber = new(big.Int) }, nil, "ann"},
		{"serial of 100 KB", func(c *tbs) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 800_000) }, nil, "ann"},
		{"version 1", func(c *tbs) { c.Version, c.Extensions = 0, nil }, nil, "ann"},
		{"version 1 with extensions, which do not count", func(c *tbs) { c.Version = 0 }, nil, "ann"},
		{"version 9", func(c *tbs) { c.Version = 8 }, nil, ends},
		{"version 1 authority", issuedBy(middle, subject(cn(asn1.TagUTF8String, "ann"))), []*x509.Certificate{f.issue(f.ca, nil, func(c *tbs) { c.Version, c.Extensions = 0, nil; c.Subject = names(cn(asn1.TagUTF8String, "middle")) })}, "401"},
		{"MD5", func(c *tbs) { c.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 4} }, nil, "401"},
		{"SHA-1", func(c *tbs) { c.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1} }, nil, "401"},
		{"unknown algorithm", func(c *tbs) { c.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 3} }, nil, "401"},
		{"unknown critical extension", extension(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte("\n")}), nil, "401"},
		{"unknown extension of 200 KB", extension(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte(kb(200))}), nil, "ann"},
		{"two extensions of one kind", extension(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}}, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}}), nil, ends},
		{"too large", extension(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte(kb(257))}), nil, ends},
		{"RSA key of 16,384 bits", func(c *tbs) { c.PublicKey = rsaKey(16384) }, nil, ends},
		{"RSA key of 800,000 bits", func(c *tbs) { c.PublicKey = rsaKey(800_000) }, nil, ends},
		{"RSA key of 800,000 bits above", subject(cn(asn1.TagUTF8String, "ann")), []*x509.Certificate{f.issue(f.ca, nil, func(c *tbs) { c.PublicKey = rsaKey(800_000); c.Extensions = authority })}, ends},

		// Chains.
		{"20,000 names", extension(sans(20_000)), nil, "ann"},
		{"8,000 names under 800 constraints", issuedBy(middle, extension(sans(8_000))), []*x509.Certificate{constrained}, "401"},
		{"a name under 800 constraints", issuedBy(middle, extension(sans(1))), []*x509.Certificate{constrained}, "401"},
		{"500 more authorities", subject(cn(asn1.TagUTF8String, "ann")), many, "ann"},
		{"200 authorities that could be the one", issuedBy(middle, subject(cn(asn1.TagUTF8String, "ann"))), same, "401"},
		{"itself again", subject(cn(asn1.TagUTF8String, "ann")), []*x509.Certificate{f.ca, f.ca, f.ca}, "ann"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got := f.ask(w.url, f.issue(f.ca, &f.clientKey.PublicKey, tt.edit), tt.chain)
		runtime.ReadMemStats(&after)
		want := tt.want
		if want != "401" && want != ends {
			want = "403 Forbidden (user=" + tt.want + ", verb=get, resource=nodes, subresource(s)=[proxy])\n"
		}
		if want == "401" {
			want = "401 Unauthorized"
		}
		if got != want && !(want == ends && got == "") {
			t.Errorf("%s: got %.200q, want %.200q", tt.name, got, want)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 256<<20 {
			t.Errorf("%s: %d MiB were used, of both sides", tt.name, used>>20)
		}
	}
	w.stop()
	events.Close()
	checkLines(t, w.log.String(), jsonLog.String(), decisions)
}

// Chains that take long to refuse are verified a few at a time, and hold up nobody
// who is known or comes from elsewhere.
func TestChainsThatTakeLong(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a client needs a second address of the loopback interface")
	}
	f := newForger(t)
	w := newWorld(t)
	w.cfg.ClientCAFile = w.file("ca.crt", f.pem())
	w.start()
	ann := subject(cn(asn1.TagUTF8String, "ann"))
	known := f.client("127.0.0.1", f.issue(f.ca, &f.clientKey.PublicKey, ann), nil)
	w.want(403, known, "/healthz", "")

	large, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var above []*x509.Certificate
	for range 20 {
		above = append(above, f.issue(f.ca, &large.PublicKey, func(c *tbs) { c.Subject, c.Extensions = names(cn(asn1.TagUTF8String, "middle")), authority }))
	}
	atOnce := max(runtime.GOMAXPROCS(0)-1, 1)
	var refused atomic.Int64
	var all sync.WaitGroup
	for range atOnce + 4 {
		all.Go(func() {
			chain := f.issue(above[0], &f.clientKey.PublicKey, ann)
			if got := f.ask(w.url, chain, above); got != "401 Unauthorized" && got != "429 Too Many Requests" { // who has waited for too long
				t.Error(got)
			}
			refused.Add(1)
		})
	}
	most := make(chan int)
	go func() {
		n := 0
		for ; refused.Load() < int64(atOnce+4); time.Sleep(time.Millisecond) {
			n = max(n, w.gauge(`kubeletauth_review_queue{queue="certificates",state="asking"}`))
		}
		most <- n
	}()
	for w.gauge(`kubeletauth_review_queue{queue="certificates",state="waiting"}`) < 2 && refused.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	w.want(403, known, "/healthz", "")
	w.want(403, f.client("127.0.0.2", f.issue(f.ca, &f.clientKey.PublicKey, ann), nil), "/healthz", "")
	if n := refused.Load(); int(n) > atOnce+2 {
		t.Errorf("who came from elsewhere waited for %d others", n)
	}
	all.Wait()
	if n := <-most; n < 1 || n > atOnce {
		t.Errorf("%d at once", n)
	}
}

// gauge reads a metric of the server.
func (w *world) gauge(series string) (n int) {
	w.t.Helper()
	var text bytes.Buffer
	if err := w.auth.WriteMetrics(&text); err != nil {
		w.t.Error(err)
	}
	_, after, found := strings.Cut(text.String(), series+" ")
	if _, err := fmt.Sscan(after, &n); !found || err != nil {
		w.t.Error("no", series, err)
	}
	return n
}

// checkLines checks that each record is one line, and no longer than what is kept
// of the texts of others.
func checkLines(t *testing.T, text, jsonLog, decisions string) {
	t.Helper()
	content, err := os.ReadFile(decisions)
	if err != nil {
		t.Fatal(err)
	}
	for name, log := range map[string]string{"text": text, "JSON": jsonLog, "decisions": string(content)} {
		lines, asked := bufio.NewScanner(strings.NewReader(log)), 0
		for lines.Scan() {
			line := lines.Text()
			if strings.Contains(line, "/healthz") {
				asked++
			}
			if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == '\u2028' || r == 0x7f }) || !utf8.ValidString(line) || len(line) > 32<<10 {
				t.Errorf("%s: a line of %d bytes: %.200q", name, len(line), line)
			}
			if name == "text" && !strings.HasPrefix(line, "time=") || name != "text" && !json.Valid([]byte(line)) {
				t.Errorf("%s: no whole line: %.200q", name, line)
			}
		}
		if asked < 30 || lines.Err() != nil {
			t.Errorf("%s: %d lines about requests, %v", name, asked, lines.Err())
		}
	}
}

// forger makes certificates that no authority would.
type forger struct {
	t            *testing.T
	key          *ecdsa.PrivateKey // of both authorities
	clientKey    *ecdsa.PrivateKey
	ca, stranger *x509.Certificate
}

// tbs is the part of a certificate that is signed (RFC 5280, section 4.1).
type tbs struct {
	Version      int `asn1:"optional,explicit,default:0,tag:0"`
	SerialNumber *big.Int
	Algorithm    pkix.AlgorithmIdentifier
	Issuer       asn1.RawValue
	Validity     struct{ NotBefore, NotAfter time.Time }
	Subject      asn1.RawValue
	PublicKey    asn1.RawValue
	Extensions   []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
}

type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

func newForger(t *testing.T) *forger {
	f := &forger{t: t}
	var err error
	if f.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if f.clientKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	self := func(name string) *x509.Certificate {
		return f.issue(nil, nil, func(c *tbs) {
			c.Subject, c.Extensions = names(cn(asn1.TagUTF8String, name)), authority
			c.Issuer = c.Subject
		})
	}
	f.ca, f.stranger = self("ca"), self("stranger")
	return f
}

func (f *forger) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.ca.Raw})
}

// issue makes a certificate of ann with the extension for clients, as it is once
// it was edited. A nil key is the authorities' own. Only Raw is sure to be set.
func (f *forger) issue(by *x509.Certificate, key *ecdsa.PublicKey, edit func(*tbs)) *x509.Certificate {
	f.t.Helper()
	if key == nil {
		key = &f.key.PublicKey
	}
	public, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	c := &tbs{
		Version: 2, SerialNumber: serial, Algorithm: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
		Subject: names(cn(asn1.TagUTF8String, "ann")), PublicKey: asn1.RawValue{FullBytes: public},
		Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: der(f.t, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}})}},
	}
	c.Validity.NotBefore, c.Validity.NotAfter = time.Now().Add(-time.Hour).UTC(), time.Now().Add(time.Hour).UTC()
	if by != nil {
		c.Issuer = asn1.RawValue{FullBytes: by.RawSubject}
	}
	edit(c)
	signed := der(f.t, *c)
	hash := sha256.Sum256(signed)
	signature, err := ecdsa.SignASN1(rand.Reader, f.key, hash[:])
	if err != nil {
		f.t.Fatal(err)
	}
	whole := der(f.t, struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: signed}, c.Algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if parsed, err := x509.ParseCertificate(whole); err == nil {
		return parsed
	}
	return &x509.Certificate{Raw: whole}
}

// ask returns the answer to a client with a certificate, or nothing if there is
// none.
func (f *forger) ask(url string, leaf *x509.Certificate, chain []*x509.Certificate) string {
	client := f.client("127.0.0.1", leaf, chain)
	defer client.CloseIdleConnections()
	response, err := client.Get(url + "/healthz")
	if err != nil {
		if strings.Contains(err.Error(), "Timeout") {
			f.t.Error(err)
		}
		return ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Error(err)
	}
	return fmt.Sprint(response.StatusCode, " ", string(body))
}

// client returns one with a certificate and an address.
func (f *forger) client(address string, leaf *x509.Certificate, chain []*x509.Certificate) *http.Client {
	pair := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: f.clientKey}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	transport := &http.Transport{
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext,
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify:   true,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
		},
	}
	f.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func der(t *testing.T, value any) []byte {
	t.Helper()
	b, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func raw(tag int, content string) asn1.RawValue {
	return asn1.RawValue{Tag: tag, Bytes: []byte(content)}
}

func cn(tag int, name string) attribute {
	return attribute{asn1.ObjectIdentifier{2, 5, 4, 3}, raw(tag, name)}
}

func org(name string) attribute {
	return attribute{asn1.ObjectIdentifier{2, 5, 4, 10}, raw(asn1.TagUTF8String, name)}
}

func uid(id string) attribute {
	return attribute{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, raw(asn1.TagUTF8String, id)}
}

func slicesOf(n int, a attribute) (list []attribute) {
	for range n {
		list = append(list, a)
	}
	return list
}

// names is the subject with these attributes, one to a set.
func names(attributes ...attribute) asn1.RawValue {
	var sets bytes.Buffer
	for _, a := range attributes {
		one, err := asn1.Marshal(a)
		if err != nil {
			panic(err)
		}
		set, _ := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: one})
		sets.Write(set)
	}
	return asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: sets.Bytes()}
}

func subject(attributes ...attribute) func(*tbs) {
	return func(c *tbs) { c.Subject = names(attributes...) }
}

func extension(extensions ...pkix.Extension) func(*tbs) {
	return func(c *tbs) { c.Extensions = append(c.Extensions, extensions...) }
}

func issuedBy(by *x509.Certificate, edit func(*tbs)) func(*tbs) {
	return func(c *tbs) { c.Issuer = asn1.RawValue{FullBytes: by.RawSubject}; edit(c) }
}

// authority are the extensions of one.
var authority = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}}

// sans are DNS names.
func sans(n int) pkix.Extension {
	var list bytes.Buffer
	for i := range n {
		name, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: fmt.Appendf(nil, "h%d", i)})
		list.Write(name)
	}
	value, _ := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: list.Bytes()})
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}
}

// constraints permit names of which none of sans is one.
func constraints(f *forger, n int) pkix.Extension {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), PermittedDNSDomainsCritical: true, PermittedDNSDomains: make([]string, n), IsCA: true, BasicConstraintsValid: true}
	for i := range n {
		template.PermittedDNSDomains[i] = fmt.Sprintf("p%d.example", i)
	}
	whole, err := x509.CreateCertificate(rand.Reader, template, template, &f.key.PublicKey, f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(whole)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range parsed.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 30}) {
			return e
		}
	}
	f.t.Fatal("no constraints")
	return pkix.Extension{}
}

// rsaKey is a public key that nobody has the other half of.
func rsaKey(bits uint) asn1.RawValue {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	public, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537})
	if err != nil {
		panic(err)
	}
	return asn1.RawValue{FullBytes: public}
}
