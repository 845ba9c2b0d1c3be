package postgrestest

import (
	"context"
	"sync"
	"testing"
)

// spare are schemas left by earlier tests, with emptied tables: making tables takes
// longer than most cases.
var spare struct {
	sync.Mutex
	list []*schema
}

// reset empties the tables and resets everything but the store's ID.
const reset = `
	DO $$ DECLARE t text; BEGIN
		FOR t IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = '{s}'::regnamespace AND c.relkind = 'r' AND c.relname <> 'meta' LOOP
			EXECUTE 'DELETE FROM {s}.' || t;
		END LOOP;
		FOR t IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = '{s}'::regnamespace AND c.relkind = 'S' LOOP
			EXECUTE 'ALTER SEQUENCE {s}.' || t || ' RESTART';
		END LOOP;
	END $$;
	DELETE FROM {s}.meta WHERE key NOT IN ('store', 'schema')`

// recycled returns a schema without jobs, a spare one if there is one.
func (d Driver) recycled(tb testing.TB) *schema {
	tb.Helper()
	spare.Lock()
	var s *schema
	if n := len(spare.list); n > 0 {
		s, spare.list = spare.list[n-1], spare.list[:n-1]
	}
	spare.Unlock()
	if s == nil {
		s = d.newSchema(tb)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			s.drop(tb)
			return
		}
		s.exec(tb, s.in(reset))
		s.moveClock(tb, 0)
		spare.Lock()
		defer spare.Unlock()
		spare.list = append(spare.list, s)
	})
	return s
}

// dropSpare drops the spare schemas.
func dropSpare() error {
	spare.Lock()
	defer spare.Unlock()
	for _, s := range spare.list {
		if _, err := s.db.ExecContext(context.Background(), s.in(dropSchema)); err != nil {
			return err
		}
	}
	spare.list = nil
	return nil
}
