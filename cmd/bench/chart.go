package main

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"io"
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// colors of the drivers are told apart by those who see colors differently,
// too.
var colors = map[string]color.Color{
	"memory":   color.Gray{0x99},
	"mattn":    color.RGBA{0x00, 0x72, 0xb2, 0xff},
	"modernc":  color.RGBA{0xe6, 0x9f, 0x00, 0xff},
	"ncruces":  color.RGBA{0x00, 0x9e, 0x73, 0xff},
	"postgres": color.RGBA{0xcc, 0x79, 0xa7, 0xff},
}

// charts draws a chart for each scenario: jobs a second or, where that says
// nothing, the median latency.
func (s *session) charts() ([]*plot.Plot, error) {
	var all []*plot.Plot
	sums := s.summaries()
	for _, scenario := range s.scenarios {
		var own []summary
		for _, sum := range sums {
			if sum.scenario == scenario {
				own = append(own, sum)
			}
		}
		if len(own) == 0 {
			continue
		}
		p, err := chart(own)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func chart(own []summary) (*plot.Plot, error) {
	scenario := own[0].scenario
	p := plot.New()
	p.Title.Text = scenario.Name
	p.Title.Padding = vg.Points(6)
	p.X.Tick.Marker = plot.TickerFunc(ticks)
	p.X.Label.Text = "jobs a second"
	unit := 1.0
	value := func(s summary) float64 { return s.median }
	if scenario.Rateless {
		p.X.Label.Text, unit = "ms, median", 1000
		value = func(s summary) float64 {
			if s.Latency == nil {
				return 0
			}
			return s.Latency.P50
		}
		if scenario.Latency == "" {
			p.X.Label.Text, unit = "MiB", 1
			value = func(s summary) float64 {
				if s.Peak == nil {
					return 0
				}
				return *s.Peak
			}
		}
	}
	p.X.Min = 0
	var labels []string
	for i := range own {
		sum := own[len(own)-1-i] // bars go upwards
		bar, err := plotter.NewBarChart(plotter.Values{value(sum) / unit}, vg.Points(14))
		if err != nil {
			return nil, err
		}
		bar.Horizontal = true
		bar.XMin = float64(i)
		bar.LineStyle.Width = 0
		bar.Color = colors[sum.driver.name]
		p.Add(bar)
		labels = append(labels, chartLabel(sum))
	}
	p.NominalY(labels...)
	longest := 0
	for _, l := range labels {
		longest = max(longest, len(l))
	}
	// The viewer may use a font that is wider than the one that
	// the labels were measured with.
	p.Y.Padding = vg.Points(4 + 1.5*float64(longest))
	return p, nil
}

// ticks are the library's own, in whole numbers where they are large.
func ticks(low, high float64) []plot.Tick {
	all := plot.DefaultTicks{}.Ticks(low, high)
	for i, t := range all {
		if t.Label != "" {
			all[i].Label = strconv.FormatFloat(t.Value, 'f', -1, 64)
		}
	}
	return all
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

func writeSVG(w io.Writer, plots []*plot.Plot) error {
	const width, row = 18 * vg.Centimeter, 0.75 * vg.Centimeter
	var heights []vg.Length
	total := vg.Length(0)
	for _, p := range plots {
		h := 3*vg.Centimeter + row*vg.Length(p.Y.Max-p.Y.Min+1)
		heights = append(heights, h)
		total += h
	}
	canvas := vgsvg.New(width, total)
	at := total
	for i, p := range plots {
		at -= heights[i]
		p.Draw(draw.Crop(draw.New(canvas), 0, -vg.Points(12), at, -(total - at - heights[i])))
	}
	_, err := canvas.WriteTo(w)
	return err
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

func (s *session) writeHTML(w io.Writer, plots []*plot.Plot) error {
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
		if err := writeSVG(&svg, plots[i:i+1]); err != nil {
			return err
		}
		// Of an XML file, only the element belongs into a page.
		_, element, _ := bytes.Cut(svg.Bytes(), []byte("<svg"))
		h.Chart = template.HTML("<svg" + string(element)) //nolint:gosec // the plotting library wrote it
		data.Sections = append(data.Sections, h)
	}
	return page.Execute(w, data)
}

// writeCharts writes the files that were asked for.
func (s *session) writeCharts() error {
	if s.svg == "" && s.html == "" {
		return nil
	}
	plots, err := s.charts()
	if err != nil {
		return err
	}
	for path, write := range map[string]func(io.Writer) error{
		s.svg:  func(w io.Writer) error { return writeSVG(w, plots) },
		s.html: func(w io.Writer) error { return s.writeHTML(w, plots) },
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
