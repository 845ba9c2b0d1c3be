package dashboard

import (
	"fmt"
	"strconv"
	"strings"
)

// macroWords are the abbreviations of expressions.
var macroWords = map[string]string{
	"@yearly": "every year on 1 January at 00:00", "@annually": "every year on 1 January at 00:00", "@monthly": "on day 1 of every month at 00:00",
	"@weekly": "every Sunday at 00:00", "@daily": "every day at 00:00", "@midnight": "every day at 00:00", "@hourly": "every hour, on the hour",
}

var (
	dayNames   = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
	monthNames = []string{"", "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
)

// cronWords returns a cron expression as a sentence.
func cronWords(spec string) string {
	if words := macroWords[strings.ToLower(spec)]; words != "" {
		return words
	}
	f := strings.Fields(spec)
	second := "0"
	if len(f) == 6 {
		second, f = f[0], f[1:]
	}
	if len(f) != 5 {
		return ""
	}
	when := clockWords(second, f[0], f[1])
	day := dayWords(f[2], f[4])
	if month := listWords(f[3], monthNames); month != "" {
		day += " in " + month
	}
	if day == "every day" && strings.HasPrefix(when, "every ") {
		return when
	}
	return day + " " + when
}

// clockWords describes the second, minute and hour.
func clockWords(second, minute, hour string) string {
	m, minuteErr := strconv.Atoi(minute)
	s, secondErr := strconv.Atoi(second)
	var hours []string
	for _, h := range strings.Split(hour, ",") {
		n, err := strconv.Atoi(h)
		if err != nil {
			hours = nil
			break
		}
		at := fmt.Sprintf("%02d:%02d", n, m)
		if s != 0 {
			at += fmt.Sprintf(":%02d", s)
		}
		hours = append(hours, at)
	}
	if minuteErr == nil && secondErr == nil && hours != nil {
		return "at " + joined(hours)
	}
	words := unitWords(minute, "minute")
	if second != "0" {
		words = unitWords(second, "second") + " of " + words
	}
	if hour != "*" || !strings.HasPrefix(words, "every ") {
		words += " of " + unitWords(hour, "hour")
	}
	if !strings.HasPrefix(words, "every ") {
		words = "at " + words
	}
	return words
}

// unitWords describes a field of a clock: "every minute", "every 5 minutes", "minute 3".
func unitWords(field, unit string) string {
	switch step, found := strings.CutPrefix(field, "*/"); {
	case field == "*":
		return "every " + unit
	case found:
		return "every " + step + " " + unit + "s"
	}
	if from, step, found := strings.Cut(field, "/"); found {
		return "every " + step + " " + unit + "s from " + unit + " " + strings.ReplaceAll(from, "-", " to ")
	}
	return unit + " " + joined(strings.Split(strings.ReplaceAll(field, "-", " to "), ","))
}

// dayWords describes the fields of days.
func dayWords(day, weekday string) string {
	anyDay, anyWeekday := day == "*" || day == "?", weekday == "*" || weekday == "?"
	of := "day " + joined(strings.Split(strings.ReplaceAll(day, "-", " to "), ",")) + " of the month"
	if day == "L" {
		of = "the last day of the month"
	} else if step, found := strings.CutPrefix(day, "*/"); found {
		of = "every " + step + " days of the month"
	}
	switch on := listWords(weekday, dayNames); {
	case anyDay && anyWeekday:
		return "every day"
	case anyDay && strings.HasPrefix(on, "the "):
		return "on " + on
	case anyDay && strings.Contains(on, " to "):
		return on
	case anyDay:
		return "every " + on
	case anyWeekday:
		return "on " + of
	case strings.HasPrefix(day, "*") || strings.HasPrefix(weekday, "*"):
		return "on " + of + " if it is " + on
	default:
		return "on " + of + " and on " + on
	}
}

// listWords describes a list of days or months by their names, or is empty for a star.
func listWords(field string, names []string) string {
	if field == "*" || field == "?" {
		return ""
	}
	var parts []string
	for _, part := range strings.Split(field, ",") {
		from, to, ranged := strings.Cut(part, "-")
		part = named(from, names)
		if ranged {
			part += " to " + named(to, names)
		}
		parts = append(parts, part)
	}
	return joined(parts)
}

// named returns the name of a number or an abbreviation.
func named(text string, names []string) string {
	switch day, nth, found := strings.Cut(text, "#"); {
	case found:
		return "the " + ordinals[nth] + " " + named(day, names) + " of the month"
	case len(text) > 1 && strings.HasSuffix(text, "L"):
		return "the last " + named(text[:len(text)-1], names) + " of the month"
	}
	if n, err := strconv.Atoi(text); err == nil && n >= 0 && n < len(names) {
		return names[n]
	}
	for _, name := range names {
		if strings.EqualFold(text, name) || len(text) == 3 && len(name) > 3 && strings.EqualFold(text, name[:3]) {
			return name
		}
	}
	return text
}

var ordinals = map[string]string{"1": "first", "2": "second", "3": "third", "4": "fourth", "5": "fifth"}

// joined joins words: "a, b and c".
func joined(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}
