package lifecycle

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/plainjobs/plainjobs/backend"
)

// keepLogs is how many logs of runs a job keeps, the latest.
const keepLogs = 10

// A storedLog is the log of a run, in what PutLog returns.
type storedLog struct {
	Token   int64  `json:"run"`
	Attempt int    `json:"attempt"`
	At      int64  `json:"at"`
	Text    string `json:"text"`
}

// PutLog returns the logs of a job as they are stored after the run with the token has sent its
// log. stored is what an earlier call returned, or nil.
func PutLog(stored []byte, token int64, attempt int, text string, now int64) []byte {
	var all []storedLog
	_ = json.Unmarshal(stored, &all) // what is damaged is replaced
	at := slices.IndexFunc(all, func(l storedLog) bool { return l.Token == token })
	if at < 0 {
		at, all = len(all), append(all, storedLog{})
	}
	all[at] = storedLog{token, attempt, now, LogEnd(text)}
	data, _ := json.Marshal(all[max(0, len(all)-keepLogs):]) // its types always encode
	return data
}

// Logs returns stored logs as [backend.Info] has them, oldest first.
func Logs(stored []byte) (logs []backend.RunLog) {
	var all []storedLog
	_ = json.Unmarshal(stored, &all)
	for _, l := range all {
		logs = append(logs, backend.RunLog{Attempt: l.Attempt, At: Time(l.At), Text: l.Text})
	}
	return logs
}

// LogEnd returns the last lines of a log that have at most [backend.MaxLog] bytes together.
func LogEnd(text string) string {
	if len(text) <= backend.MaxLog {
		return text
	}
	text = text[len(text)-backend.MaxLog:]
	if _, lines, ok := strings.Cut(text, "\n"); ok && lines != "" {
		return lines
	}
	return strings.ToValidUTF8(text, "")
}
