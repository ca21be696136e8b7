//! A plot of costs against sizes, as a small SVG file.

use std::fmt::Write;

/// A part of the plot: two curves of points (size, cost), of the earlier and of the later build.
pub(crate) struct Panel<'a> {
    pub(crate) title: &'a str,
    pub(crate) curves: &'a [Vec<(f64, f64)>; 2],
}

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 34.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 44.0;

/// Draws panels side by side. Sizes are on a logarithmic axis, costs on a linear one from 0.
pub(crate) fn svg(panels: &[Panel<'_>]) -> String {
    let width = WIDTH * panels.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"10\">\n\
         <rect width=\"{width}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        draw(panel, number as f64 * WIDTH, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

fn draw(panel: &Panel<'_>, x: f64, out: &mut String) {
    let points = || panel.curves.iter().flatten();
    let top = points().map(|point| point.1).fold(0.0, f64::max) * 1.1;
    let (low, high) = points().fold((f64::MAX, 1.0), |(low, high), (size, _)| {
        (f64::min(low, *size), f64::max(high, *size))
    });
    let at = |size: f64, cost: f64| {
        let along = (size / low).ln() / (high / low).ln();
        (
            x + LEFT + along * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - cost / top * (HEIGHT - TOP - BOTTOM),
        )
    };
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{text}");
    };
    line(format_args!(
        "<text x=\"{:.0}\" y=\"14\" font-size=\"11\">{}</text>\n<text x=\"{:.0}\" y=\"27\" \
         fill=\"#555\">us of the server a pair</text>",
        x + LEFT,
        panel.title,
        x + LEFT
    ));
    for step in 0..=4 {
        let cost = top * f64::from(step) / 4.0;
        let ((left, y), (right, _)) = (at(low, cost), at(high, cost));
        line(format_args!(
            "<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" \
             y=\"{:.1}\" text-anchor=\"end\">{cost:.1}</text>",
            left - 4.0,
            y + 3.0
        ));
    }
    for (size, _) in &panel.curves[0] {
        let (x, y) = at(*size, 0.0);
        let anchor = if *size == high { "end" } else { "middle" };
        line(format_args!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{size}</text>",
            y + 13.0
        ));
    }
    let looks = [("earlier", "#b55"), ("later", "#27c")];
    for ((number, (name, color)), curve) in looks.iter().enumerate().zip(panel.curves) {
        let mut path = String::new();
        for (number, (size, cost)) in curve.iter().enumerate() {
            let (x, y) = at(*size, *cost);
            let _ = write!(path, "{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' });
            line(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{color}\"/>"
            ));
        }
        line(format_args!(
            "<path d=\"{path}\" stroke=\"{color}\" fill=\"none\"/><text x=\"{:.0}\" y=\"{:.0}\" \
             fill=\"{color}\">{name}</text>",
            x + LEFT + 60.0 * number as f64,
            HEIGHT - 10.0
        ));
    }
}
