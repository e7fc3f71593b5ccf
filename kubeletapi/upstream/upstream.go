// Package upstream passes requests on to one HTTP service: whatever the filter
// lets through, for an exporter, an agent or a kubelet's read-only port that has
// no authentication of its own.
//
// What was authorized is what is served: method, path and query go upstream byte
// for byte, or not at all. A path that cannot stay as it is or has a dot segment
// with a parameter ("..;a=b"), a query that cannot be parsed whole and a fragment
// get 400, CONNECT and TRACE 405, and headers that name another method or path to
// serve are removed. Whether a path is canonical otherwise is the filter's question.
//
// No credential goes upstream, and nothing that could pass for the word of a
// trusted proxy: not Authorization, Proxy-Authorization, a token among WebSocket
// protocols, X-Remote-*, Impersonate-*, Forwarded, X-Forwarded-* or X-Real-Ip, in
// a header or a trailer, whatever their case, and with any other sign in the
// place of a hyphen. Cookies pass. The Host is the upstream's.
//
// Bodies and answers stream in both directions at once and are flushed as they
// come; only the header of an answer of known length waits for the body, and the
// body for its end, for a tenth of a second at most. No time limit of the
// [http.Server] in front ends an exchange in which something flows; one in which
// nothing does is cut after [Config.IdleTimeout].
package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"kubeletauth/kubeletapi/internal/reload"
)

// Config describes an upstream and how to reach it.
type Config struct {
	// URL is http://host:port, https://host:port or unix:///path/of.sock. The
	// environment's proxies do not count.
	URL string

	// CAFile is a bundle of the authorities that may vouch for an https
	// upstream; empty stands for the system's. CertFile and KeyFile are the
	// client certificate that it gets if it asks for one. Changed files are
	// taken over within a second, for new connections.
	CAFile, CertFile, KeyFile string

	// Protocol is empty for HTTP/1.1, and HTTP/2 with an https upstream that
	// speaks it; or h2c for HTTP/2 that is not encrypted, to a loopback address
	// or a Unix socket. Upgrades are HTTP/1.1 in any case.
	Protocol string

	// Timeout bounds the wait for the header of an answer, once all of the request
	// is here. Zero is 30 seconds, negative is no limit.
	Timeout time.Duration

	// IdleTimeout is how long it may be that nothing flows in either direction
	// of an exchange or a tunnel. Zero is 4 hours, as the kubelet's
	// streamingConnectionIdleTimeout; negative is no limit.
	IdleTimeout time.Duration

	// IdentityHeaders tells the upstream who asks, as Kubernetes' aggregator
	// does: X-Remote-User, -Uid, -Group and -Extra-*. A request without a user,
	// or with one that a header cannot hold unchanged, gets 502; but capitals in the
	// keys of Extra, of which a header knows none, are lost.
	IdentityHeaders bool

	// Logger is told of failures, at level error if they are not the client's;
	// it is told no query. Nil is slog.Default().
	Logger *slog.Logger

	// Report is told of every reload of the files: nil when their new contents
	// are in force, or why the old ones stay. If it is nil, the Logger is told.
	Report func(error)
}

// Proxy passes requests on to an upstream. It is made by [New] and safe for
// concurrent use. If the upstream cannot be reached, it answers 502; if it takes
// too long, 504. The log has the reason, the client has not.
type Proxy struct {
	config       Config // with times that mean what they say
	scheme, host string
	connections  *reload.Value[connections]
	reverse      httputil.ReverseProxy
	made         time.Time
	watches      sync.Pool

	tunnels sync.RWMutex // each holds it for reading
	ctx     context.Context
	cut     context.CancelFunc // ends ctx, and the tunnels with it
}

// New returns the Proxy that cfg describes. It reads the files that cfg names,
// and does not contact the upstream. Its errors name the flag and the file.
func New(cfg Config) (*Proxy, error) {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Report == nil {
		cfg.Report = func(err error) { cfg.Logger.Warn("The upstream's files changed", "err", err) }
	}
	cfg.Timeout, cfg.IdleTimeout = limit(cfg.Timeout, 30*time.Second), limit(cfg.IdleTimeout, 4*time.Hour)
	p := &Proxy{config: cfg, made: time.Now(), watches: sync.Pool{New: func() any { return new(watch) }}}
	var socket string
	var err error
	if p.scheme, p.host, socket, err = cfg.target(); err != nil {
		return nil, err
	}
	if p.connections, err = reload.New(func(read reload.ReadFunc) (connections, error) { return cfg.connections(read, socket) }, cfg.Report); err != nil {
		return nil, err
	}
	p.ctx, p.cut = context.WithCancel(context.Background())
	p.reverse = httputil.ReverseProxy{
		Rewrite:      p.rewrite,
		Transport:    sender(p.send),
		BufferPool:   &buffers{sync.Pool{New: func() any { return new([bufferBytes]byte) }}},
		ErrorHandler: p.failed,
		ErrorLog:     slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelInfo),
	}
	return p, nil
}

// limit is what a time means: none is the usual, and less is no limit.
func limit(d, usual time.Duration) time.Duration {
	if d < 0 {
		return math.MaxInt64
	}
	return cmp.Or(d, usual)
}

// ServeHTTP passes r on, and the answer back. The user is the one that the
// filter in front put into the context of r.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	_, err := url.ParseQuery(r.URL.RawQuery)
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		p.answer(w, r, http.StatusMethodNotAllowed, errors.New("this method is not passed on"))
	case r.URL.Opaque != "" || !strings.HasPrefix(path, "/") || r.URL.RawPath != "" && r.URL.RawPath != path:
		p.answer(w, r, http.StatusBadRequest, errors.New("the path is none, or has a byte that must be percent-encoded"))
	case hasHiddenDots(r.URL.Path):
		p.answer(w, r, http.StatusBadRequest, errors.New("the path has a dot segment with a parameter, which some servers resolve"))
	case err != nil || strings.ContainsAny(r.URL.RawQuery, "# "):
		p.answer(w, r, http.StatusBadRequest, errors.New("the query cannot be parsed whole"))
	default:
		p.exchange(w, r)
	}
}

// hasHiddenDots reports whether a path has a dot segment for those who cut the
// parameters of segments off, as servlet containers do.
func hasHiddenDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		bare, _, parameter := strings.Cut(segment, ";")
		if parameter && (bare == "." || bare == "..") {
			return true
		}
	}
	return false
}

func (p *Proxy) exchange(w http.ResponseWriter, r *http.Request) {
	x, r := p.begin(w, r)
	defer x.end()
	if mayUpgrade(r) {
		open := p.tunnels.TryRLock()
		if open {
			defer p.tunnels.RUnlock()
		}
		if !open || p.ctx.Err() != nil { // during Shutdown, and after it
			p.answer(x, r, http.StatusServiceUnavailable, errors.New("shutting down"))
			return
		}
		defer context.AfterFunc(p.ctx, x.cut)()
	}
	p.reverse.ServeHTTP(x, r)
}

// mayUpgrade reports whether a request asks for a protocol that it may switch to.
// Any other is ignored (RFC 9110, section 7.8): in h2c, requests would follow
// that nobody authorized. So is one with a body, which the tunnel would read too.
func mayUpgrade(r *http.Request) bool {
	to := r.Header["Upgrade"]
	return len(to) == 1 && r.ProtoMajor == 1 && r.ProtoMinor > 0 && r.ContentLength == 0 && (strings.EqualFold(to[0], "websocket") || strings.EqualFold(to[0], "SPDY/3.1"))
}

// rewrite makes the upstream's request of a client's. The hop-by-hop headers are
// gone by now, with all that the client declared to be such.
func (p *Proxy) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.URL.Scheme, out.URL.Host, out.URL.RawQuery, out.Host = p.scheme, p.host, pr.In.URL.RawQuery, ""
	if !mayUpgrade(pr.In) {
		out.Header.Del("Upgrade")
		out.Header.Del("Connection")
	}
	hide(out.Header)
	hide(out.Trailer)
	if b, ok := pr.In.Body.(*body); ok {
		b.trailer = out.Trailer
	}
}

type sender func(*http.Request) (*http.Response, error)

func (s sender) RoundTrip(r *http.Request) (*http.Response, error) { return s(r) }

func (p *Proxy) send(r *http.Request) (*http.Response, error) {
	if p.config.IdentityHeaders {
		if err := setIdentity(r); err != nil {
			return nil, err
		}
	}
	x := r.Context().Value(exchangeKey{}).(*exchange)
	res, err := p.connections.Get().roundTrip(r)
	x.touch()
	x.answered.Store(true)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 100 {
		res.Body.Close()
		return nil, fmt.Errorf("the upstream answered %q", res.Status)
	}
	x.rest = res.ContentLength
	for name := range x.own {
		res.Header.Del(name)
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		tunnel := res.Body // which ReverseProxy closes only if it uses it
		context.AfterFunc(r.Context(), func() { tunnel.Close() })
	}
	return res, nil
}

// failed answers a request that the upstream did not.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	code, x := http.StatusBadGateway, w.(*exchange)
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case x.badBody.Load():
		code = http.StatusBadRequest
	case x.late.Load():
		code, err = http.StatusGatewayTimeout, errors.New("the upstream has not answered in time")
		r = r.WithContext(context.WithoutCancel(r.Context()))
	case ok && timeout.Timeout():
		code = http.StatusGatewayTimeout
	}
	p.answer(w, r, code, err)
}

func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, code int, err error) {
	level := slog.LevelError
	if code < http.StatusInternalServerError || r.Context().Err() != nil { // the client is wrong, or gone
		level = slog.LevelInfo
	}
	p.config.Logger.Log(r.Context(), level, http.StatusText(code), "upstream", p.config.URL, "remote", r.RemoteAddr, "method", fmt.Sprintf("%.64s", r.Method),
		"path", fmt.Sprintf("%.1024s", r.URL.Path), "err", fmt.Sprintf("%.1024s", err))
	http.Error(w, http.StatusText(code), code)
}

// Shutdown waits for the tunnels to end, and cuts those that are left when ctx
// ends. Meanwhile and later there are no new ones. Other exchanges are for
// [http.Server.Shutdown], which does not know of tunnels. The connections to the
// upstream are closed once they are idle.
func (p *Proxy) Shutdown(ctx context.Context) {
	defer context.AfterFunc(ctx, p.cut)()
	p.tunnels.Lock()
	p.cut()
	p.tunnels.Unlock()
	p.connections.Get().plain.CloseIdleConnections()
	p.connections.Get().tunnel.CloseIdleConnections()
}

// buffers are what answers are copied with.
type buffers struct{ sync.Pool }

const bufferBytes = 32 << 10

func (b *buffers) Get() []byte { return b.Pool.Get().(*[bufferBytes]byte)[:] }

func (b *buffers) Put(buffer []byte) { b.Pool.Put((*[bufferBytes]byte)(buffer)) }
