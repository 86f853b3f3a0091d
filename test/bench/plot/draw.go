package main

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// colours that the colour-blind can tell apart (Okabe and Ito).
var colours = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
}

const height = 9 * vg.Centimeter

// write writes the plot as SVG.
func (d *drawing) write(file string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = d.Title, d.X, d.Y
	p.Title.Padding = vg.Points(6)
	p.Legend.Top = true
	p.BackgroundColor = color.White // readable on dark pages, too
	p.Add(grid())
	add, width := d.lines, 16*vg.Centimeter
	if len(d.Groups) > 0 {
		add, width = d.bars, max(16, vg.Length(4*len(d.Groups)))*vg.Centimeter
	}
	if err := add(p); err != nil {
		return err
	}
	if d.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if d.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		p.Y.Min, p.Y.Max = d.least()/2, p.Y.Max*3 // for the legend
	} else {
		p.Y.Min, p.Y.Max = 0, p.Y.Max*1.25
	}
	return p.Save(width, height, file)
}

func grid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Color = nil
	g.Horizontal.Color = color.Gray{0xdd}
	return g
}

// least is the smallest value above 0.
func (d *drawing) least() float64 {
	least := math.Inf(1)
	for _, s := range d.Series {
		for _, v := range slices.Concat(s.Y, s.Low) {
			if v > 0 {
				least = min(least, v)
			}
		}
	}
	if math.IsInf(least, 0) {
		return 1
	}
	return least
}

// lines adds a line for each series.
func (d *drawing) lines(p *plot.Plot) error {
	for i, s := range d.Series {
		points := make(plotter.XYs, len(s.Y))
		for k := range points {
			points[k] = plotter.XY{X: s.X[k], Y: s.Y[k]}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = colours[i%len(colours)], vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(s.Name, line)
	}
	return nil
}

// bars adds groups of bars with whiskers, drawn as polygons: plotter.BarChart begins
// at 0, which a logarithmic scale does not have.
func (d *drawing) bars(p *plot.Plot) error {
	const used = 0.8 // of the distance from group to group
	wide := used / float64(len(d.Series))
	floor := 0.0
	if d.LogY {
		floor = d.least() / 2
	}
	for i, s := range d.Series {
		var whiskers errorBars
		var legend plot.Thumbnailer
		for k, y := range s.Y {
			if y <= floor {
				continue // it was not measured, or nothing shows
			}
			left := float64(k) - used/2 + wide*float64(i)
			bar, err := plotter.NewPolygon(plotter.XYs{{X: left, Y: floor}, {X: left, Y: y}, {X: left + wide*0.95, Y: y}, {X: left + wide*0.95, Y: floor}})
			if err != nil {
				return err
			}
			bar.Color, bar.LineStyle.Width = colours[i%len(colours)], 0
			p.Add(bar)
			legend = bar
			if len(s.Low) > k && len(s.High) > k {
				whiskers.XYs = append(whiskers.XYs, plotter.XY{X: left + wide*0.475, Y: y})
				whiskers.YErrors = append(whiskers.YErrors, struct{ Low, High float64 }{y - max(s.Low[k], floor), s.High[k] - y})
			}
		}
		if len(whiskers.XYs) > 0 {
			w, err := plotter.NewYErrorBars(whiskers)
			if err != nil {
				return err
			}
			p.Add(w)
		}
		if legend != nil {
			p.Legend.Add(s.Name, legend)
		}
	}
	p.NominalX(d.Groups...)
	p.X.Min, p.X.Max = -0.5, float64(len(d.Groups))-0.5
	return nil
}

// errorBars are points and how far their whiskers reach.
type errorBars struct {
	plotter.XYs
	plotter.YErrors
}
