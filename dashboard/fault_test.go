package dashboard

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jackc "github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	driver "modernc.org/sqlite"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/backend/postgres/pgx"
	"github.com/plainjobs/plainjobs/backend/sqlite"
	"github.com/plainjobs/plainjobs/internal/faultdriver"
	"github.com/plainjobs/plainjobs/internal/pgcluster"
)

// shownPages are the pages that show what a store has, with jobs of failing.
var shownPages = []string{
	"/", "/?as=table", "/jobs", "/jobs?state=failed", "/jobs?error=refused", "/jobs?payload=a", "/job?id=1", "/again?id=1", "/change?do=retry&state=failed",
	"/groups", "/schedules", "/workers", "/limits", "/actions", "/raw?id=1&part=payload",
}

// someDeeds are actions in a store of failing.
var someDeeds = []string{"do=retry&id=1&back=jobs", "do=delete&id=2&sure=yes&back=jobs", "do=pause&name=a&back=limits", "do=duplicate&id=3&payload=%7B%7D"}

// While the disk is full, the pages are there, and an action fails with a page that says
// what is wrong. An action on a whole filter waits, and goes on once there is room.
func TestFullDisk(t *testing.T) {
	var full atomic.Bool
	disk := &faultdriver.Driver{Driver: &driver.Driver{}, Before: func(call, query string) error {
		if verb, _, _ := strings.Cut(strings.TrimSpace(query), " "); call == faultdriver.Exec && full.Load() {
			switch verb {
			case "INSERT", "UPDATE", "DELETE", "COMMIT":
				return &faultdriver.Error{Result: 13} // FULL
			}
		}
		return nil
	}}
	store, err := sqlite.Open(disk, filepath.Join(t.TempDir(), "jobs.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	failing(t, store, 500, "a")
	w := newWorld(t, store, nil)
	form := w.sweepForm(t, "do=retry&state=failed", "")
	full.Store(true)
	for _, path := range shownPages {
		w.get(t, http.StatusOK, path)
	}
	for _, deed := range someDeeds {
		_, page := w.post(t, http.StatusServiceUnavailable, deed)
		contains(t, page, "The disk is full", "no space left", "Nothing was changed", ">Back</a>")
		lacks(t, page, `http-equiv="refresh"`)
	}
	_, page := w.post(t, http.StatusServiceUnavailable, form)
	contains(t, page, "no space left")
	if counts := w.counts(t); counts != "a failed=500" {
		t.Errorf("on a full disk the counts become %s", counts)
	}
	full.Store(false)
	to, _ := w.post(t, http.StatusSeeOther, form)
	full.Store(true)
	w.get(t, http.StatusOK, "/"+to)
	full.Store(false)
	w.eventually(t, "/"+to, "500 of 500")
	for _, deed := range someDeeds {
		w.post(t, http.StatusSeeOther, deed)
	}
}

// Without a connection to PostgreSQL every page says so, and loads itself again. It is
// back with the connection, and so are actions.
func TestLostConnection(t *testing.T) {
	dsn := pgcluster.Connect(t)
	c, err := jackc.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	wire := newCable(t, c.Host, c.Port)
	store, err := pgx.Open(pgcluster.With(pgcluster.With(dsn, "host", "127.0.0.1"), "port", strconv.Itoa(wire.port)), &postgres.Options{Schema: "lost_connection"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	failing(t, store, 500, "a")
	w := newWorld(t, store, nil)
	form := w.sweepForm(t, "do=retry&state=failed", "")
	paths := w.offered()
	wire.cut()
	for _, path := range paths {
		if path == "/workers" { // it may show what it read up to 30 seconds before
			continue
		}
		page := w.get(t, http.StatusServiceUnavailable, path)
		contains(t, page, "The store does not answer", `http-equiv="refresh"`)
		lacks(t, page, "goroutine ", "password")
	}
	for _, deed := range append(slices.Clone(someDeeds), form) {
		_, page := w.post(t, http.StatusServiceUnavailable, deed)
		contains(t, page, "The store does not answer", ">Back</a>")
		lacks(t, page, `http-equiv="refresh"`)
	}
	wire.join(t)
	for _, path := range paths {
		w.returns(t, path)
	}
	to, _ := w.post(t, http.StatusSeeOther, form)
	wire.cut()
	wire.join(t)
	w.returns(t, "/"+to)
	w.eventually(t, "/"+to, "500 of 500")
	for _, deed := range someDeeds {
		w.post(t, http.StatusSeeOther, deed)
	}
}

// offered returns those of shownPages that the store can show.
func (w *world) offered() (paths []string) {
	for _, path := range shownPages {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code == http.StatusOK {
			paths = append(paths, path)
		}
	}
	return paths
}

// returns waits until a page that the store has not answered is there again.
func (w *world) returns(t testing.TB, path string) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code == http.StatusOK {
			tick.Stop()
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("%s never returns: %s", path, rec.Body)
		default:
		}
	}
}

// A cable forwards connections to a server, until it is cut.
type cable struct {
	to   func() (net.Conn, error)
	port int

	mu    sync.Mutex
	in    net.Listener
	conns []net.Conn
}

func newCable(t *testing.T, host string, port uint16) *cable {
	t.Helper()
	network, address := pgconn.NetworkAddress(host, port)
	c := &cable{to: func() (net.Conn, error) { return net.Dial(network, address) }}
	c.join(t)
	t.Cleanup(c.cut)
	return c
}

// join lets connections through.
func (c *cable) join(t *testing.T) {
	t.Helper()
	in, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)))
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in, c.port = in, in.Addr().(*net.TCPAddr).Port
	go c.forward(in)
}

func (c *cable) forward(in net.Listener) {
	for {
		client, err := in.Accept()
		if err != nil {
			return
		}
		server, err := c.to()
		if err != nil {
			client.Close()
			continue
		}
		c.mu.Lock()
		cut := c.in != in
		c.conns = append(c.conns, client, server)
		c.mu.Unlock()
		if cut {
			c.cutConns()
		}
		go pass(client, server)
		go pass(server, client)
	}
}

// pass copies until one end is closed.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = errors.Join(to.Close(), from.Close())
}

// cut closes all connections and refuses others.
func (c *cable) cut() {
	c.mu.Lock()
	if c.in != nil {
		c.in.Close()
		c.in = nil
	}
	c.mu.Unlock()
	c.cutConns()
}

func (c *cable) cutConns() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}
