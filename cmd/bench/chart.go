package main

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"io"
	"os"

	"github.com/plainjobs/plainjobs/cmd/bench/internal/bars"
)

// colors of the drivers are different for color-blind readers too.
var colors = map[string]color.Color{
	"memory":   color.Gray{0x99},
	"mattn":    color.RGBA{0x56, 0xb4, 0xe9, 0xff},
	"modernc":  color.RGBA{0xe6, 0x9f, 0x00, 0xff},
	"ncruces":  color.RGBA{0x00, 0x9e, 0x73, 0xff},
	"postgres": color.RGBA{0xcc, 0x79, 0xa7, 0xff},
	"mariadb":  color.RGBA{0x00, 0x72, 0xb2, 0xff},
}

// panels returns a panel for each scenario: jobs per second or, if that is not what
// the scenario measures, the median latency or the peak memory.
func (s *session) panels() (all []bars.Panel) {
	sums := s.summaries()
	for _, scenario := range s.scenarios {
		var own []summary
		for _, sum := range sums {
			if sum.scenario == scenario {
				own = append(own, sum)
			}
		}
		if len(own) > 0 {
			all = append(all, panelOf(own))
		}
	}
	return all
}

func panelOf(own []summary) bars.Panel {
	scenario := own[0].scenario
	p := bars.Panel{Title: scenario.Name}
	for _, sum := range own {
		b := bars.Bar{Label: chartLabel(sum), Color: colors[sum.driver.name]}
		switch {
		case !scenario.Rateless:
			p.Unit = "jobs per second"
			b.Value, b.Text = sum.median, bars.Number(sum.median)
		case scenario.Latency != "":
			p.Unit = "median latency; less is better"
			if sum.Latency != nil {
				b.Value = sum.Latency.P50 / 1000
			}
			b.Text = fmt.Sprintf("%.3g ms", b.Value)
		default:
			p.Unit = "peak memory; less is better"
			if sum.Peak != nil {
				b.Value = *sum.Peak
			}
			b.Text = fmt.Sprintf("%.1f MiB", b.Value)
		}
		p.Bars = append(p.Bars, b)
	}
	return p
}

func chartLabel(s summary) string {
	label := s.driver.name
	if len(s.scenario.Workers) > 0 {
		label += fmt.Sprintf(", %d", s.workers)
	}
	if len(s.scenario.Processes) > 0 {
		label += fmt.Sprintf(" × %d", s.processes)
	}
	if s.name != "" {
		label += ", " + s.name
	}
	return label
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>plainjobs: benchmark</title>
<style>
body { font: 16px/1.4 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .1rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
.l { text-align: left }
section { overflow-x: auto }
svg { max-width: 100%; height: auto }
</style>
</head>
<body>
<h1>plainjobs: benchmark</h1>
{{range .Conditions}}<p>{{.}}</p>
{{end}}{{range .Sections}}<section>
<h2>{{.Name}}</h2>
<p>{{.About}}.{{range .Notes}} {{.}}.{{end}}</p>
<table>
<tr>{{range .Titles}}<th{{if .Left}} class="l"{{end}}>{{.Text}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td{{if .Left}} class="l"{{end}}>{{.Text}}</td>{{end}}</tr>
{{end}}</table>
{{.Chart}}
</section>
{{end}}</body>
</html>
`))

type htmlCell struct {
	Text string
	Left bool
}

type htmlSection struct {
	Name, About string
	Notes       []string
	Titles      []htmlCell
	Rows        [][]htmlCell
	Chart       template.HTML
}

func (s *session) writeHTML(w io.Writer, panels []bars.Panel) error {
	data := struct {
		Conditions []string
		Sections   []htmlSection
	}{Conditions: s.conditions()}
	for i, sec := range s.sections() {
		h := htmlSection{Name: sec.scenario.Name, About: sec.scenario.About, Notes: sec.notes}
		for _, c := range sec.columns {
			h.Titles = append(h.Titles, htmlCell{c.title, c.left})
		}
		for _, row := range sec.rows {
			var cells []htmlCell
			for j, text := range row {
				cells = append(cells, htmlCell{text, sec.columns[j].left})
			}
			h.Rows = append(h.Rows, cells)
		}
		var svg bytes.Buffer
		if err := bars.WriteSVG(&svg, 1, panels[i:i+1]); err != nil {
			return err
		}
		// A page contains the element without the XML declaration.
		_, element, _ := bytes.Cut(svg.Bytes(), []byte("<svg"))
		h.Chart = template.HTML("<svg" + string(element)) //nolint:gosec // the plotting library wrote it
		data.Sections = append(data.Sections, h)
	}
	return page.Execute(w, data)
}

// writeCharts writes the files of -svg and -html.
func (s *session) writeCharts() error {
	if s.svg == "" && s.html == "" {
		return nil
	}
	panels := s.panels()
	for path, write := range map[string]func(io.Writer) error{
		s.svg:  func(w io.Writer) error { return bars.WriteSVG(w, 2, panels) },
		s.html: func(w io.Writer) error { return s.writeHTML(w, panels) },
	} {
		if path == "" {
			continue
		}
		var out bytes.Buffer
		if err := write(&out); err != nil {
			return err
		}
		if err := os.WriteFile(path, out.Bytes(), 0o666); err != nil {
			return err
		}
	}
	return nil
}
