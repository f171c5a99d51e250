//! What the pictures of the programs share.

use std::io;
use std::ops::Range;

use plotters::coord::{CoordTranslate, Shift};
use plotters::prelude::*;

/// A picture, or a part of it.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The content of an SVG file that is drawn on white.
pub fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), String>,
) -> Result<String, String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(reason)?;
        draw(&area)?;
        area.present().map_err(reason)?;
    }
    Ok(svg)
}

/// Why something could not be drawn.
pub fn reason(error: DrawingAreaErrorKind<io::Error>) -> String {
    error.to_string()
}

/// Draws a line, which the legend will name.
pub fn line<'a, 'b: 'a>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, impl CoordTranslate<From = (f64, f64)>>,
    points: impl IntoIterator<Item = (f64, f64)>,
    name: impl Into<String>,
    style: ShapeStyle,
) -> Result<(), String> {
    chart
        .draw_series(LineSeries::new(points, style))
        .map_err(reason)?
        .label(name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    Ok(())
}

/// Draws the names of the lines into the chart.
pub fn legend<'a, 'b: 'a>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, impl CoordTranslate>,
    position: SeriesLabelPosition,
) -> Result<(), String> {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()
        .map_err(reason)
}

/// From the least of the values to the largest, times these factors.
pub fn extent(values: impl Iterator<Item = f64>, below: f64, above: f64) -> Range<f64> {
    let (least, largest) = values.fold((f64::INFINITY, 0.0_f64), |(least, largest), value| {
        (least.min(value), largest.max(value))
    });
    below * least..above * largest
}

/// These numbers times a power of ten in the range.
pub fn logarithmic_ticks(range: &Range<f64>, digits: &[&str]) -> Vec<f64> {
    let powers = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let ticks = powers.flat_map(|power| digits.iter().map(move |digit| format!("{digit}e{power}")));
    ticks.filter_map(|tick| tick.parse().ok()).filter(|tick| range.contains(tick)).collect()
}
