// Package bars draws panels of horizontal bars as an SVG picture.
package bars

import (
	"bytes"
	"image/color"
	"io"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A Panel shows the answers to one question. It has a scale of its own, which
// starts at zero.
type Panel struct {
	Title string
	Unit  string // below the title
	Bars  []Bar  // from top to bottom
}

// A Bar is one answer.
type Bar struct {
	Label string
	Value float64
	Text  string // Value as it is written next to the bar
	Color color.Color
}

// The picture has a background of its own, so that it is readable on light and
// dark pages. The colors are those of the terminal pictures in the documents.
var (
	background = color.RGBA{0x28, 0x2a, 0x36, 0xff}
	foreground = color.RGBA{0xf8, 0xf8, 0xf2, 0xff}
	dim        = color.RGBA{0xb4, 0xb8, 0xcc, 0xff}
)

const (
	margin      = vg.Length(14)
	titleHeight = vg.Length(40)
	barHeight   = vg.Length(13)
	rowHeight   = vg.Length(19)
	radius      = vg.Length(6)
)

var sans = font.Font{Typeface: "Liberation", Variant: "Sans"}

// families has the font that the texts are measured with, and fonts of the same
// widths.
const families = "Liberation Sans, Arial, Helvetica, sans-serif"

// WriteSVG writes the panels, row by row.
func WriteSVG(w io.Writer, columns int, panels []Panel) error {
	const width = vg.Length(620)
	columns = min(columns, len(panels))
	var heights []vg.Length // of the rows
	total := margin
	for i, p := range panels {
		if i%columns == 0 {
			heights = append(heights, 0)
		}
		row := &heights[len(heights)-1]
		*row = max(*row, titleHeight+rowHeight*vg.Length(len(p.Bars)))
	}
	for _, h := range heights {
		total += h + margin
	}
	canvas := vgsvg.New(width, total)
	all := draw.New(canvas)
	all.SetColor(background)
	all.Fill(rounded(all.Rectangle))
	panelWidth := (width - margin*vg.Length(columns+1)) / vg.Length(columns)
	top := total - margin
	for i, p := range panels {
		if i > 0 && i%columns == 0 {
			top -= heights[i/columns-1] + margin
		}
		left := margin + (panelWidth+margin)*vg.Length(i%columns)
		bottom := top - titleHeight - rowHeight*vg.Length(len(p.Bars))
		area := draw.Canvas{Canvas: all.Canvas, Rectangle: vg.Rectangle{Min: vg.Point{X: left, Y: bottom}, Max: vg.Point{X: left + panelWidth, Y: top}}}
		if err := p.draw(area); err != nil {
			return err
		}
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	_, err := w.Write(bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:"+families+";")))
	return err
}

// draw draws a panel into an area.
func (p *Panel) draw(area draw.Canvas) error {
	title, unit := style(14, foreground, draw.XLeft), style(10, dim, draw.XLeft)
	area.FillText(title, vg.Point{X: area.Min.X, Y: area.Max.Y - 14}, p.Title)
	area.FillText(unit, vg.Point{X: area.Min.X, Y: area.Max.Y - 28}, p.Unit)
	area.Max.Y -= titleHeight

	label, value := style(11, foreground, draw.XLeft), style(11, foreground, draw.XLeft)
	label.YAlign, value.YAlign = draw.YCenter, draw.YCenter
	labels, values := vg.Length(0), vg.Length(0)
	most := 0.0
	for _, b := range p.Bars {
		// A viewer without one of the fonts may use a wider one.
		labels = max(labels, 1.1*label.Width(b.Label))
		values = max(values, 1.1*value.Width(b.Text))
		most = max(most, b.Value)
	}
	pl := plot.New()
	pl.BackgroundColor = color.Transparent
	pl.HideAxes()
	pl.X.Min, pl.X.Max, pl.X.Padding = 0, most, 0
	pl.Y.Min, pl.Y.Max, pl.Y.Padding = -0.5, float64(len(p.Bars))-0.5, 0
	chart := area
	chart.Min.X += labels + 8
	chart.Max.X -= values + 8
	for i, b := range p.Bars {
		at := len(p.Bars) - 1 - i // the axis points up
		bar, err := plotter.NewBarChart(plotter.Values{b.Value}, barHeight)
		if err != nil {
			return err
		}
		bar.Horizontal, bar.XMin, bar.Color = true, float64(at), b.Color
		bar.LineStyle.Width = 0
		pl.Add(bar)
		y := chart.Min.Y + rowHeight*(vg.Length(at)+0.5) + 1
		area.FillText(label, vg.Point{X: area.Min.X, Y: y}, b.Label)
		end := chart.Min.X
		if most > 0 {
			end += (chart.Max.X - chart.Min.X) * vg.Length(b.Value/most)
		}
		area.FillText(value, vg.Point{X: end + 5, Y: y}, b.Text)
	}
	pl.Draw(chart)
	return nil
}

func style(size vg.Length, c color.Color, align text.XAlignment) text.Style {
	f := sans
	f.Size = size
	return text.Style{Color: c, Font: f, XAlign: align, Handler: plot.DefaultTextHandler}
}

// rounded returns a rectangle with rounded corners.
func rounded(r vg.Rectangle) (p vg.Path) {
	const quarter = 1.5707963267948966
	p.Move(vg.Point{X: r.Min.X + radius, Y: r.Min.Y})
	for i, corner := range []vg.Point{
		{X: r.Max.X - radius, Y: r.Min.Y + radius}, {X: r.Max.X - radius, Y: r.Max.Y - radius},
		{X: r.Min.X + radius, Y: r.Max.Y - radius}, {X: r.Min.X + radius, Y: r.Min.Y + radius},
	} {
		p.Arc(corner, radius, quarter*float64(i-1), quarter)
	}
	p.Close()
	return p
}

// Number formats a whole number, with commas between thousands.
func Number(v float64) string {
	text := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
