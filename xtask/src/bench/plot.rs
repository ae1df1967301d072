//! The plot: throughput and latency of the orders in pairs over the number of clients, as SVG.

use crate::bench::latency::float;
use crate::bench::load::Load;
use crate::bench::measured::{Figures, Measured, Name};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 640.0;
const LEFT: f64 = 70.0;
/// Leaves room for the names at the ends of the lines.
const RIGHT: f64 = WIDTH - 190.0;
const PANEL_HEIGHT: f64 = 230.0;
/// The least distance between the base lines of two names.
const NAME_HEIGHT: f64 = 16.0;
/// Spaces between the grid's lines.
const SPACES: u32 = 4;

/// The lines, in colours that colour-blind people can tell apart.
const LINES: [(Name, &str); 4] = [
    (Name::Pgbench, "#555555"),
    (Name::PostgresAlone, "#cc79a7"),
    (Name::Postgres, "#0072b2"),
    (Name::Sqlite, "#d55e00"),
];

/// A line of a diagram.
struct Series {
    name: &'static str,
    colour: &'static str,
    /// Places from left to right.
    points: Vec<(f64, f64)>,
    knee: Option<(f64, f64)>,
}

/// Where values lie in a diagram.
struct Scale {
    top: f64,
    most: f64,
}

impl Scale {
    fn y(&self, value: f64) -> f64 {
        self.top + PANEL_HEIGHT * (1.0 - value / self.most)
    }
}

/// Draws the plot of a run.
pub(super) fn draw(figures: &Figures) -> String {
    let clients = client_counts(figures);
    let mut lines = vec![
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#222222">"##
        ),
        "<title>Orders a second and latency over the number of clients</title>".to_owned(),
        format!(r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##),
    ];
    let throughput = "Orders a second. A ring marks the knee, where throughput is best";
    lines.extend(panel(figures, &clients, throughput, 40.0, |row| row.per_second));
    let latency = "Latency in ms, 99th percentile. The ring is at the same number of clients";
    lines.extend(panel(figures, &clients, latency, 345.0, |row| row.latency.p99_ms));
    lines.push(text(f64::midpoint(LEFT, RIGHT), HEIGHT - 14.0, "middle", "clients"));
    lines.push("</svg>\n".to_owned());
    lines.join("\n")
}

fn client_counts(figures: &Figures) -> Vec<usize> {
    let pairs = figures.closed.iter().filter(|row| row.load == Load::Pairs);
    let mut clients: Vec<usize> = pairs.filter_map(|row| row.clients).collect();
    clients.sort_unstable();
    clients.dedup();
    clients
}

/// One diagram: title, grid, labels of the axes, lines.
fn panel(figures: &Figures, clients: &[usize], title: &str, top: f64, value: impl Fn(&Measured) -> f64) -> Vec<String> {
    let pairs = figures.closed.iter().filter(|row| row.load == Load::Pairs);
    let scale = Scale { top, most: round_up(pairs.map(&value).fold(0.0, f64::max)) };
    let mut lines = vec![text(LEFT, top - 16.0, "start", title)];
    lines.extend(grid(&scale, clients));
    let all: Vec<Series> = LINES.iter().map(|line| series(figures, clients, *line, &scale, &value)).collect();
    let drawn: Vec<&Series> = all.iter().filter(|series| !series.points.is_empty()).collect();
    lines.extend(drawn.iter().map(|series| path(series)));
    lines.extend(names(&drawn));
    lines
}

fn grid(scale: &Scale, clients: &[usize]) -> Vec<String> {
    let mut lines = Vec::new();
    for space in 0..=SPACES {
        let value = scale.most * f64::from(space) / f64::from(SPACES);
        let y = scale.y(value);
        lines.push(format!(r##"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="#dddddd"/>"##));
        // Small values have a decimal only where they need it.
        lines.push(text(LEFT - 8.0, y + 4.0, "end", &f64::to_string(&((value * 10.0).round() / 10.0))));
    }
    for (column, count) in clients.iter().enumerate() {
        lines.push(text(x(column, clients.len()), scale.top + PANEL_HEIGHT + 18.0, "middle", &count.to_string()));
    }
    lines
}

/// Where a column is; columns are evenly apart, because numbers of clients are chosen to grow by factors.
fn x(column: usize, columns: usize) -> f64 {
    const MARGIN: f64 = 20.0;
    let spaces = float(columns.saturating_sub(1).max(1));
    LEFT + MARGIN + (RIGHT - LEFT - 2.0 * MARGIN) * float(column) / spaces
}

fn series(
    figures: &Figures,
    clients: &[usize],
    (name, colour): (Name, &'static str),
    scale: &Scale,
    value: impl Fn(&Measured) -> f64,
) -> Series {
    let place = |row: &Measured| {
        let column = clients.iter().position(|clients| Some(*clients) == row.clients)?;
        Some((x(column, clients.len()), scale.y(value(row))))
    };
    let mut points: Vec<(f64, f64)> = figures.closed(name, Load::Pairs).filter_map(place).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let knee = figures.best(name, Load::Pairs).and_then(place);
    Series { name: name.text(), colour, points, knee }
}

fn path(series: &Series) -> String {
    let colour = series.colour;
    let points: Vec<String> = series.points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let line = points.join(" ");
    let mut svg = format!(r##"<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>"##);
    for (x, y) in &series.points {
        svg.push_str(&format!(r##"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"##));
    }
    if let Some((x, y)) = series.knee {
        svg.push_str(&format!(
            r##"<circle cx="{x:.1}" cy="{y:.1}" r="8" fill="none" stroke="{colour}" stroke-width="2"/>"##
        ));
    }
    svg
}

/// The names at the right ends of the lines, moved down where they would cover each other.
fn names(drawn: &[&Series]) -> Vec<String> {
    let mut ends: Vec<(f64, &Series)> =
        drawn.iter().filter_map(|series| Some((series.points.last()?.1, *series))).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free_from = f64::NEG_INFINITY;
    let mut lines = Vec::new();
    for (end, series) in ends {
        let y = end.max(free_from);
        free_from = y + NAME_HEIGHT;
        let name = text(RIGHT + 4.0, y + 4.0, "start", series.name);
        lines.push(name.replacen("<text ", &format!(r#"<text fill="{}" font-weight="bold" "#, series.colour), 1));
    }
    lines
}

/// The next number that has one digit before its zeros.
fn round_up(value: f64) -> f64 {
    let magnitude = 10_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].map(|step| step * magnitude);
    steps.into_iter().find(|step| *step >= value).unwrap_or(value)
}

fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measured::tests::figures;

    /// Whether every element is closed, in order, and every attribute is in quotes.
    fn is_well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for piece in svg.split('<').skip(1) {
            let Some((tag, words)) = piece.split_once('>') else { return false };
            let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap_or_default();
            let is_closed = if tag.starts_with('/') {
                open.pop() == Some(name)
            } else {
                if !tag.ends_with('/') {
                    open.push(name);
                }
                true
            };
            if !is_closed || tag.matches('"').count() % 2 == 1 || words.contains(['&', '>']) {
                return false;
            }
        }
        open.is_empty()
    }

    #[test]
    fn is_well_formed_and_names_every_line_twice() {
        let svg = draw(&figures());
        assert!(is_well_formed(&svg), "{svg}");
        for (name, times) in [("pgbench", 2), ("PostgreSQL", 2), ("SQLite", 2), ("PostgreSQL, groups of 1", 0)] {
            assert_eq!(svg.matches(&format!(">{name}<")).count(), times, "{name}");
        }
    }

    #[test]
    fn marks_the_knee_of_every_line_in_both_diagrams() {
        assert_eq!(draw(&figures()).matches(r#"r="8""#).count(), 6);
    }

    #[test]
    fn a_run_without_figures_is_an_empty_diagram() {
        let svg = draw(&Figures::default());
        assert!(is_well_formed(&svg) && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn the_scale_ends_at_a_round_number_above_the_most() {
        for (value, expected) in [(0.0, 1.0), (1.5, 2.0), (37.0, 40.0), (81.0, 100.0), (2277.0, 3000.0)] {
            assert!((round_up(value) - expected).abs() < 1e-9, "{value}: {}", round_up(value));
        }
    }
}
