package report

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// The charts are plain SVG that reads in light and in dark: it brings its own paper.
const (
	width    = 760
	left     = 270 // of bars: room for labels
	barHigh  = 18
	rowHigh  = 26
	topSpace = 58
	axisHigh = 300 // of lines
	font     = "ui-sans-serif, system-ui, sans-serif"
)

var colours = []string{"#2f6fde", "#e08a1e", "#8a4fbe", "#1f9d63", "#c7344f", "#5b6470"}

// WriteSVG draws the chart.
func (c *Chart) WriteSVG(w io.Writer) error {
	d := &drawing{}
	if len(c.X) > 0 {
		d.lines(c)
	} else {
		d.bars(c)
	}
	_, err := fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"%s\" font-size=\"12\" "+
		"role=\"img\" aria-label=\"%s\">\n"+
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n%s</svg>\n", width, d.high, font, html.EscapeString(c.Title), d.b.String())
	return err
}

type drawing struct {
	b    strings.Builder
	high int
}

func (d *drawing) text(x, y float64, anchor, fill, s string) {
	fmt.Fprintf(&d.b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\">%s</text>\n", x, y, anchor, fill, html.EscapeString(s))
}

const (
	ink   = "#1c232b"
	faint = "#5b6470"
	grid  = "#e3e7ec"
)

func (d *drawing) title(c *Chart) {
	fmt.Fprintf(&d.b, "<text x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"600\" fill=\"%s\">%s</text>\n", ink, html.EscapeString(c.Title))
	x := 16.0
	if len(c.Series) < 2 {
		d.text(x, 44, "start", faint, c.Unit)
		return
	}
	for i, s := range c.Series {
		fmt.Fprintf(&d.b, "<rect x=\"%.1f\" y=\"35\" width=\"10\" height=\"10\" fill=\"%s\"/>\n", x, colours[i%len(colours)])
		d.text(x+14, 44, "start", faint, s.Name)
		x += 14 + 7*float64(len(s.Name)) + 16
	}
	d.text(width-16, 44, "end", faint, c.Unit)
}

// bars stacks the series of each label.
func (d *drawing) bars(c *Chart) {
	d.title(c)
	d.high = topSpace + rowHigh*len(c.Labels) + 12
	sum := func(i int) (total float64) {
		for _, s := range c.Series {
			total += s.Values[i]
		}
		return total
	}
	most := 0.0
	for i := range c.Labels {
		most = max(most, sum(i))
	}
	scale := 0.0
	if most > 0 {
		scale = (width - left - 80) / most
	}
	for i, label := range c.Labels {
		y := float64(topSpace + rowHigh*i)
		d.text(left-10, y+13, "end", ink, label)
		x := float64(left)
		for j, s := range c.Series {
			w := s.Values[i] * scale
			fmt.Fprintf(&d.b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", x, y, w, barHigh, colours[j%len(colours)])
			x += w
		}
		d.text(x+6, y+13, "start", ink, number(sum(i), digits(most), ""))
	}
}

// lines draws the series over X, both on scales of decades.
func (d *drawing) lines(c *Chart) {
	d.title(c)
	d.high = topSpace + axisHigh + 48
	const from, to = 64.0, width - 24.0
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range c.Series {
		for _, v := range s.Values {
			if v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	if math.IsInf(low, 1) {
		return
	}
	low, high = math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	high = max(high, low+1)
	first, last := math.Log10(c.X[0]), math.Log10(c.X[len(c.X)-1])
	atX := func(x float64) float64 { return from + (math.Log10(x)-first)/max(last-first, 1e-9)*(to-from) }
	atY := func(y float64) float64 { return topSpace + (high-math.Log10(y))/(high-low)*axisHigh }
	for e := low; e <= high; e++ {
		y := atY(math.Pow(10, e))
		fmt.Fprintf(&d.b, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", from, to, y, y, grid)
		d.text(from-8, y+4, "end", faint, number(math.Pow(10, e), max(0, int(-e)), ""))
	}
	for _, x := range c.X {
		d.text(atX(x), topSpace+axisHigh+18, "middle", faint, number(x, 0, ""))
	}
	d.text((from+to)/2, topSpace+axisHigh+38, "middle", faint, c.XName)
	for i, s := range c.Series {
		var points []string
		for j, v := range s.Values {
			if v > 0 && j < len(c.X) {
				points = append(points, fmt.Sprintf("%.1f,%.1f", atX(c.X[j]), atY(v)))
				fmt.Fprintf(&d.b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", atX(c.X[j]), atY(v), colours[i%len(colours)])
			}
		}
		fmt.Fprintf(&d.b, "<polyline points=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n", strings.Join(points, " "), colours[i%len(colours)])
	}
}

func digits(most float64) int {
	switch {
	case most >= 100:
		return 0
	case most >= 1:
		return 1
	default:
		return 3
	}
}
