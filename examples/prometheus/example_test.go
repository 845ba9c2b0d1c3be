package prometheus

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend/memory"
)

func run(queue *plainjobs.Queue) error {
	registry := prometheus.NewRegistry()
	stop, err := Observe(queue, registry)
	if err != nil {
		return err
	}
	defer stop()
	http.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	response := httptest.NewRecorder()
	http.DefaultServeMux.ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(response.Body.String()) {
		if strings.HasPrefix(line, "plainjobs_") {
			fmt.Print(line)
		}
	}
	return nil
}

func ExampleObserve() {
	queue := plainjobs.New(memory.New(nil), nil)
	defer queue.Close()
	if err := run(queue); err != nil {
		fmt.Println(err)
	}
	// Output:
	// plainjobs_store_up 1
	// plainjobs_workers 0
}
