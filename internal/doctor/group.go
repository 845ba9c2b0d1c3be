package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/plainjobs/plainjobs"
	"github.com/plainjobs/plainjobs/backend"
	"github.com/plainjobs/plainjobs/internal/engine"
)

const (
	unsealedFor = 24 * time.Hour // after which a group whose members have all ended is a problem
	groupPages  = 10             // of 1000 groups each, which are read
	groupsShown = 3              // by name
)

// groups adds groups that nothing but Seal can end, and that are old.
func (r *Report) groups(ctx context.Context, q *plainjobs.Queue) error {
	store, ok := storeOf(q).(backend.GateStore)
	scheduler, clock := storeOf(q).(backend.Scheduler)
	if !ok || !clock {
		return nil
	}
	all, err := scheduler.Schedules(ctx)
	if err != nil {
		return err
	}
	found := 0
	query := backend.GateQuery{Open: true, Limit: 1000}
	for range groupPages {
		page, err := store.Gates(ctx, query)
		if err != nil {
			return err
		}
		for i := range page {
			g := &page[i]
			if query.Before = g.ID; g.Sealed || g.Open > 0 || all.Now.Sub(g.CreatedAt) < unsealedFor {
				continue
			}
			if found++; found <= groupsShown {
				r.Bad("groups", fmt.Sprintf("group %d --seal, or --delete", g.ID),
					"%s has not been sealed since %s; its %s members have ended", engine.GroupName(g), shown(g.CreatedAt), engine.Thousands(g.Total))
			}
		}
		if len(page) < query.Limit {
			break
		}
	}
	if found > groupsShown {
		r.Bad("groups", "groups lists them", "%d more groups have not been sealed for a day, and their members have ended", found-groupsShown)
	}
	return nil
}
