package cron

import "time"

const daySeconds = 24 * 60 * 60

// A wall is a local date and time, in seconds as if it were UTC.
type wall int64

// searchYears is how far Next searches. The rarest date, a 29th of February on a given
// day of the week, recurs within 40 years, even across a century without it.
const searchYears = 40

// match returns the first local time from w on that e matches.
func (e *Expression) match(w wall) (wall, bool) {
	date := time.Unix(int64(w), 0).UTC()
	year, month, day := date.Date()
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix()
	if e.days(year, month).has(day) {
		if clock, ok := e.clock(int(int64(w) - midnight)); ok {
			return wall(midnight) + wall(clock), true
		}
	}
	clock, ok := e.clock(0)
	if !ok {
		return 0, false
	}
	day++
	for range searchYears*12 + 1 {
		if day, ok := e.days(year, month).from(day); ok {
			return wall(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() + int64(clock)), true
		}
		day = 1
		if month++; month > time.December {
			year, month = year+1, time.January
		}
	}
	return 0, false
}

// days returns the days of a month that are due.
func (e *Expression) days(year int, month time.Month) (due set) {
	if !e.month.has(int(month)) {
		return 0
	}
	m := monthOf(year, month)
	inMonth := e.day | e.ofMonth(m)
	for day := 1; day <= m.last; day++ {
		inMonth, inWeek := inMonth.has(day), e.weekday.has(m.weekday(day)) || e.ofWeek(m, day)
		if inMonth && inWeek || e.eitherDay && (inMonth || inWeek) {
			due |= 1 << day
		}
	}
	return due
}

// clock returns the first time of day, in seconds, from second on.
func (e *Expression) clock(second int) (int, bool) {
	hour, minute, second := second/3600, second/60%60, second%60
	if e.hour.has(hour) {
		if e.minute.has(minute) {
			if second, ok := e.second.from(second); ok {
				return hour*3600 + minute*60 + second, true
			}
		}
		if minute, ok := e.minute.from(minute + 1); ok {
			second, ok := e.second.from(0)
			return hour*3600 + minute*60 + second, ok
		}
	}
	hour, ok := e.hour.from(hour + 1)
	minute, _ = e.minute.from(0)
	second, _ = e.second.from(0)
	return hour*3600 + minute*60 + second, ok
}
