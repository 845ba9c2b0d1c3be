package dashboard

import "github.com/plainjobs/plainjobs/backend"

// bareStore is a store without optional capabilities.
type bareStore struct{ backend.Backend }

// readerStore is a store that can only be read, besides.
type readerStore struct {
	backend.Backend
	backend.Reader
}
