package mysqltest

import (
	"strings"
	"testing"

	"github.com/plainjobs/plainjobs/internal/viewtest"
)

// testView tests the view for reports.
func testView(t *testing.T) {
	s := recycled(t)
	viewtest.Run(t, s.open(t), viewtest.View{DB: s.db, Dialect: "mysql", Name: s.prefix + "view"})
	var types string
	err := s.db.QueryRowContext(t.Context(), `SELECT GROUP_CONCAT(data_type ORDER BY ordinal_position SEPARATOR ' ') FROM information_schema.columns
		WHERE table_schema = DATABASE() AND table_name = ?`, s.prefix+"view").Scan(&types)
	if want := "bigint varchar varchar smallint int bigint int datetime datetime datetime datetime datetime bigint varchar varchar longtext longtext longtext longtext int"; types != want || err != nil {
		t.Errorf("the columns have the types %s (%v), want %s", types, err, want)
	}
	var plan string
	if err := s.db.QueryRowContext(t.Context(), "EXPLAIN FORMAT=JSON SELECT * FROM "+s.prefix+"view WHERE id = 7").Scan(&plan); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plan, `"ALL"`) || strings.Contains(plan, "materialized") {
		t.Errorf("the view reads more than the job: %s", plan)
	}
}
