package jobs

import "github.com/plainjobs/plainjobs"

// DailyReport mails the size of the list to an address.
var DailyReport = plainjobs.Declare[string](plainjobs.Filename())

func init() {
	plainjobs.Schedule("weekdays-at-six", "0 6 * * 1-5", DailyReport.With("owner@example.com"), plainjobs.Zone("Europe/Berlin"))
}
