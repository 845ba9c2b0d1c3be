package jobs

import "github.com/plainjobs/plainjobs"

// DailyReport mails to an address how the list has grown.
var DailyReport = plainjobs.Declare[string](plainjobs.Filename())

func init() {
	plainjobs.Schedule("weekdays-at-six", "0 6 * * 1-5", DailyReport.With("owner@example.com"), plainjobs.Zone("Europe/Berlin"))
}
