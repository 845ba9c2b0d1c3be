// Package dashboard serves web pages that show a queue: its jobs with their errors,
// workers, schedules, limits and problems. The pages also change jobs: they retry, cancel
// and delete them, and pause names and schedules. It is an [http.Handler] for a program's own
// web server:
//
//	mux.Handle("/jobs/", dashboard.Handler(queue, &dashboard.Options{
//		Authorize: func(r *http.Request, action dashboard.Action, name string) dashboard.Role {
//			switch {
//			case isAdmin(r):
//				return dashboard.Full // to see and to change jobs
//			case isStaff(r):
//				return dashboard.Read // to see them
//			}
//			return dashboard.None
//		},
//		User: func(r *http.Request) string { return userOf(r).Email },
//	}))
//
// The pattern ends with a slash. Any prefix works, with or without
// [http.StripPrefix]: links are relative. The pages come from the binary, request
// nothing from other servers, and work without JavaScript. With it, pages in visible
// tabs update about once a second. One goroutine reads the store for all of them, and
// runs only while a page is visible. There is nothing to start or stop.
//
// # Security
//
// Without Options.Authorize every request is refused. Authorize decides for each action
// and job name: None hides the jobs, Read shows them, and Full is needed to take an action
// other than View. Only POST requests change something, and cross-origin ones are refused,
// which needs no token in the forms. No other site can frame the pages. What comes from a
// job is shown as text. Pages are not cached. Each action is logged with its sender and
// without payloads, kept in the store, and emitted as an event; see [plainjobs.Action].
//
// # Actions on many jobs
//
// An action on all jobs that match a filter continues in this process when its page is
// closed, and asks Authorize again for each page of jobs, with the request that began it.
// It ends with the process or the queue. What is changed until then stays changed.
//
// # Cost
//
// Counts by name and state cost nothing, and neither do charts: workers store what they
// need once a minute. A page of jobs reads for at most a tenth of a second; then it says
// how far it searched and links to the rest. The count before a change of all jobs with a text
// ends as early; then the page says "or more" and links to a count of 4 seconds. Updates of open pages
// take at most a fiftieth of the time: they are rarer where the store is slow. So are
// the list of workers and the jobs that they run, which may be up to 30 seconds old then.
// An update of the overview reads the counts, and draws the rest from what was read before:
// pauses, limits, workers and the latest failures of at most 5 seconds ago, failures also when
// their number changes, charts of at most 10 seconds ago, and problems of at most 15 seconds ago.
// It takes one statement and about 0.6 ms of processor time, with one tab and with ten. The other
// reads take about another millisecond a second. There is at most one update a second. This prints
// the figures:
//
//	go test ./dashboard -run '^$' -bench Update -benchtime 300x
//	go test ./dashboard -run '^$' -bench Open -benchtime 14x
//
// With a million jobs and workers that run jobs as fast as they can, 95 of 100 requests of
// every page take less than 100 ms on each of the SQLite drivers and on PostgreSQL. This
// prints the figures:
//
//	go test ./dashboard -run '^$' -bench Million -benchtime 200x -timeout 1h
//
// # Size
//
// A program that already uses html/template or text/template grows by just under 1 MB. One
// without grows by 5.2 MB, which is not the dashboard: these packages call methods by
// name, and the linker then keeps every exported method of every type in the program. A
// single call of reflect.Value.MethodByName costs 3.5 MB in the same program, and
// html/template 0.8 MB beyond that. Escaping by context is worth more than these bytes, so
// the dashboard keeps html/template. Package cli links the dashboard only if
// cli.App.Dashboard is set. This prints the figures, without -s and -w:
//
//	go test ./dashboard -run TestSize -v
package dashboard

import (
	"net"
	"net/http"
	"net/netip"

	"github.com/plainjobs/plainjobs"
)

// Options configure a dashboard.
type Options struct {
	// Authorize returns the role of the sender of a request, for an action on jobs with a
	// name. The name is empty for what is about the whole queue, such as the list of workers
	// or a pause of all jobs. It is asked for each action when a page with its button is
	// shown, and again when the action is taken.
	// The pages leave out jobs of names for which Authorize returns None. It is called for
	// each name on a page and for each update of an open page, by several goroutines at
	// once, so it must be quick. Without Authorize every request is refused.
	Authorize func(r *http.Request, action Action, name string) Role
	// Redact changes a job before it is shown, after [plainjobs.HidePayload], for example its Payload, Result, Metadata,
	// keys, Errors and Logs. A job in a list has only some of these fields. Redact must not modify
	// the bytes of the payload and the result in place. Searches see what Redact leaves. nil
	// shows everything.
	Redact func(job *plainjobs.Info)
	// User names the sender of a request in the log and in the list of actions. The default
	// is the user name of HTTP basic authentication, or the address.
	User func(r *http.Request) string
	// Program is the command that starts the program, for commands to copy, e.g.
	// "go run .". The default is "app".
	Program string
}

// A Role is what the sender of a request may do.
type Role uint8

// The roles, weakest first.
const (
	None Role = iota // nothing
	Read             // see
	Full             // take the action
)

// Loopback is an Authorize that allows everything to requests from this machine. A
// request whose Host is not a loopback address is refused, so that no other site's name
// can lead to the dashboard. Do not use it behind a proxy on the same machine: every
// request comes from the proxy.
func Loopback(r *http.Request, _ Action, _ string) Role {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return None
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip := net.ParseIP(trimBrackets(host)); host == "localhost" || ip != nil && ip.IsLoopback() {
		return Full
	}
	return None
}

func trimBrackets(host string) string {
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

// Handler returns a dashboard of a queue. nil options are the defaults.
func Handler(queue *plainjobs.Queue, opts *Options) http.Handler {
	if queue == nil {
		panic("dashboard: the queue is nil")
	}
	h := newHandler(queue, opts)
	return http.NewCrossOriginProtection().Handler(h)
}
