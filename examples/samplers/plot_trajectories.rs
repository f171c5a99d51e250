//! A panel for each sampler: how a few samples move.

use anyhow::{Result, anyhow};
use burn::tensor::{Device, Tensor};
use latent_text::diffusion::{NoiseLevel, Sampler, SamplerPlan};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::cases::Case;
use crate::charts::{self, Area, reason};
use crate::mixture::{Point, STD, exact_flow, means};
use crate::run::{Run, to_points};

/// Network calls of each run.
const CALLS: usize = 20;
const TRAJECTORIES: u64 = 24;

const COLUMNS: usize = 5;
/// Pixels. Twice of what it is shown at, because coordinates are whole numbers.
const PANEL: i32 = 400;
const TITLE: i32 = 64;
const HEADER: i32 = 130;
/// Half the width of the part of the plane that is shown.
const EXTENT: f64 = 3.6;

const TEXT: RGBColor = RGBColor(40, 40, 40);
const DENSITY: RGBColor = RGBColor(120, 130, 150);
const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(230, 110, 10),
    RGBColor(20, 160, 175),
    RGBColor(140, 86, 75),
    RGBColor(210, 80, 160),
];

/// The SVG file's content.
pub fn draw(cases: &[Case], seed: u64, device: &Device) -> Result<String> {
    let runs = cases.iter().map(|case| Ok((case, trajectories(case, seed, device)?)));
    let runs = runs.collect::<Result<Vec<_>>>()?;
    let rows = cases.len().div_ceil(COLUMNS);
    let width = COLUMNS as i32 * PANEL;
    let height = HEADER + rows as i32 * (PANEL + TITLE);
    let drawn =
        charts::svg((width as u32, height as u32), |area| draw_all(area, &runs, rows, width));
    drawn.map_err(|reason| anyhow!("cannot draw the trajectories: {reason}"))
}

/// The points that each sample goes through.
fn trajectories(case: &Case, seed: u64, device: &Device) -> Result<Vec<Vec<Point>>> {
    let plan = case.plan(CALLS)?;
    let levels = levels_after_steps(&plan, &*case.sampler);
    let run = Run::new(plan, case.process.prediction(), seed, TRAJECTORIES, device);
    let noise = run.initial_points()?;
    let mut snapshots = Vec::new();
    let on_step = |z: &Tensor<2>| snapshots.push(z.clone());
    let start = if case.sampler.starts_from_data() {
        let sigma = run.first_level().sigma();
        let data: Vec<Point> = noise.iter().map(|&z| exact_flow(z, sigma)).collect();
        run.invert(&data, on_step)?;
        data
    } else {
        run.sample(on_step)?;
        noise
    };
    let mut trajectories: Vec<Vec<Point>> = start.into_iter().map(|point| vec![point]).collect();
    for (z, level) in snapshots.into_iter().zip(levels) {
        for (trajectory, point) in trajectories.iter_mut().zip(to_points(z, level)?) {
            trajectory.push(point);
        }
    }
    Ok(trajectories)
}

/// The noise levels after every step: where the network is called next, which churn may have raised.
fn levels_after_steps(plan: &SamplerPlan, sampler: &dyn Sampler) -> Vec<NoiseLevel> {
    let stages = plan.stages();
    let end = match sampler.starts_from_data() {
        true => plan.points()[0].level,
        false => NoiseLevel::DATA,
    };
    let next = stages.iter().skip(1).map(|stage| stage.at.level).chain([end]);
    stages.iter().zip(next).filter(|(stage, _)| stage.ends_step).map(|(_, level)| level).collect()
}

fn draw_all(
    area: &Area<'_>,
    runs: &[(&Case, Vec<Vec<Point>>)],
    rows: usize,
    width: i32,
) -> Result<(), String> {
    let (header, panels) = area.split_vertically(HEADER);
    let title = format!("{CALLS} network calls from noise (open dots) to data (full dots)");
    write_text(&header, &title, 40, (width / 2, 20))?;
    let legend = "Shades: one, two and three standard deviations of the mixture's components. Positions \
                  are divided by sqrt(signal² + noise²).";
    write_text(&header, legend, 27, (width / 2, 78))?;
    for (panel, (case, trajectories)) in panels.split_evenly((rows, COLUMNS)).iter().zip(runs) {
        draw_panel(panel, case, trajectories)?;
    }
    Ok(())
}

fn write_text(area: &Area<'_>, text: &str, pixels: i32, at: (i32, i32)) -> Result<(), String> {
    let centred = Pos::new(HPos::Center, VPos::Top);
    let style = ("sans-serif", pixels).into_text_style(area).color(&TEXT).pos(centred);
    area.draw(&Text::new(text, at, style)).map_err(reason)
}

fn draw_panel(panel: &Area<'_>, case: &Case, trajectories: &[Vec<Point>]) -> Result<(), String> {
    let title = format!("{} ({})", case.name, case.process.name());
    write_text(panel, &title, 31, (PANEL / 2, 16))?;
    let scale = f64::from(PANEL - 24) / (2.0 * EXTENT);
    // Nothing leaves its panel.
    let pixel = |point: Point| {
        let [x, y] = point.map(|coordinate| coordinate.clamp(-EXTENT, EXTENT));
        let middle = f64::from(PANEL / 2);
        let (right, down) = (middle + scale * x, f64::from(TITLE - 12) + middle - scale * y);
        (right.round() as i32, down.round() as i32)
    };
    let frame = [pixel([-EXTENT, EXTENT]), pixel([EXTENT, -EXTENT])];
    panel.draw(&Rectangle::new(frame, BLACK.mix(0.2).stroke_width(1))).map_err(reason)?;
    for deviations in [3.0, 2.0, 1.0] {
        for mean in means() {
            let radius = (deviations * STD * scale).round() as i32;
            let disc = Circle::new(pixel(mean), radius, DENSITY.mix(0.16).filled());
            panel.draw(&disc).map_err(reason)?;
        }
    }
    for trajectory in trajectories {
        let [Some(&first), Some(&last)] = [trajectory.first(), trajectory.last()] else { continue };
        let [noise, data] =
            if case.sampler.starts_from_data() { [last, first] } else { [first, last] };
        let colour = COLOURS[nearest(data)];
        let line: Vec<_> = trajectory.iter().map(|&point| pixel(point)).collect();
        let line = PathElement::new(line, colour.mix(0.65).stroke_width(2));
        panel.draw(&line).map_err(reason)?;
        panel.draw(&Circle::new(pixel(noise), 4, colour.stroke_width(2))).map_err(reason)?;
        panel.draw(&Circle::new(pixel(data), 6, colour.filled())).map_err(reason)?;
    }
    Ok(())
}

/// The component whose mean is nearest.
fn nearest(point: Point) -> usize {
    let distances = means().map(|mean| (mean[0] - point[0]).hypot(mean[1] - point[1]));
    let nearest = distances.iter().enumerate().min_by(|some, other| some.1.total_cmp(other.1));
    nearest.map_or(0, |(index, _)| index)
}
