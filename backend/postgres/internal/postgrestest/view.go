package postgrestest

import (
	"testing"

	"github.com/plainjobs/plainjobs/backend/postgres"
	"github.com/plainjobs/plainjobs/internal/viewtest"
)

func (d Driver) testView(t *testing.T) {
	s := d.schema(t)
	b := s.open(t, &postgres.Options{Schema: s.name})
	viewtest.Run(t, b, viewtest.View{DB: s.db, Dialect: "postgres", Name: s.name + ".view"})
}
