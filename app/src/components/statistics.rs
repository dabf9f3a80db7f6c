//! The statistics of a pipeline, written by the server: charts in SVG, each with a title, a description and a table that says
//! the same, and the slowest steps and the jobs that were not steady. The browser is sent the finished text and shows it.

use std::fmt::Write as _;

use wire::statistics::{DayStats, JobStats, RELATIVE_ERROR, Spread, StatsView, StepStats};

use super::{connection::grouped, duration};

/// A chart's own units: it is stretched to the width that there is.
const WIDTH: u64 = 600;
const HEIGHT: u64 = 120;

/// Text in HTML: names of jobs and steps are whatever a person wrote.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}

fn time(micros: Option<u64>) -> String {
    micros.map_or_else(|| "–".to_owned(), |micros| duration::text(micros, false))
}

/// The whole section, as HTML.
#[must_use]
pub fn html(stats: &StatsView) -> String {
    if stats.builds.total() == 0 {
        return "<p class=\"note quiet\">No finished builds yet.</p>".to_owned();
    }
    let days = stats.days.len();
    let mut out = String::new();
    let share = match stats.builds.success_percent() {
        Some(percent) => format!("{percent} % succeeded"),
        None => "none succeeded or failed".to_owned(),
    };
    let total = grouped(stats.builds.total());
    let middle = time(stats.duration_micros.p50);
    // A String takes all.
    let _ = write!(
        out,
        "<p class=\"about\">{total} builds in the last {days} days: {share}, half of them within {middle}. Days are those of UTC.</p>"
    );
    out.push_str("<div class=\"charts\">");
    out.push_str(&ends_chart(&stats.days, &share));
    out.push_str(&times_chart(&stats.days, &stats.duration_micros));
    out.push_str("</div>");
    out.push_str(&table(&stats.days));
    out.push_str("<div class=\"charts\">");
    out.push_str(&steps(&stats.slowest_steps));
    out.push_str(&jobs(&stats.flaky_jobs));
    out.push_str("</div>");
    out
}

/// A figure around a chart: `name` is its id, `scale` what its full height stands for.
fn figure(name: &str, title: &str, description: &str, days: &[DayStats], scale: &str, bars: &str) -> String {
    let first = days.first().map_or("", |day| &day.day);
    let last = days.last().map_or("", |day| &day.day);
    let description = escaped(description);
    format!(
        "<figure class=\"chart\"><figcaption>{title}<span class=\"scale muted\">{scale}</span></figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-labelledby=\"{name}-title {name}-desc\"><title id=\"{name}-title\">{title}</title>\
         <desc id=\"{name}-desc\">{description}</desc>{bars}</svg>\
         <div class=\"axis muted\"><span>{first}</span><span>{last}</span></div></figure>"
    )
}

/// A bar of a day: from `low` to `high` of `max`.
fn bar(out: &mut String, class: &str, (day, days): (usize, usize), (low, high, max): (u64, u64, u64)) {
    if high <= low || max == 0 || days == 0 {
        return;
    }
    let pitch = WIDTH as f64 / days as f64;
    let height = |value: u64| value.min(max) as f64 * HEIGHT as f64 / max as f64;
    let (x, width) = (day as f64 * pitch + pitch * 0.12, pitch * 0.76);
    // What is there is seen, however small.
    let (y, tall) = (HEIGHT as f64 - height(high), (height(high) - height(low)).max(1.5));
    let _ =
        write!(out, "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{tall:.1}\"/>");
}

fn ends_chart(days: &[DayStats], share: &str) -> String {
    let max = days.iter().map(|day| day.builds.total()).max().unwrap_or(0);
    let mut bars = String::new();
    for (n, day) in days.iter().enumerate() {
        let (good, total) = (day.builds.succeeded, day.builds.total());
        let bad = good + day.builds.failed + day.builds.timed_out;
        bar(&mut bars, "good", (n, days.len()), (0, good, max));
        bar(&mut bars, "bad", (n, days.len()), (good, bad, max));
        bar(&mut bars, "other", (n, days.len()), (bad, total, max));
    }
    let description = format!("Of the builds of these days {share}. The busiest day had {max} builds.");
    let scale = format!("up to {} a day", grouped(max));
    let title = "Builds: succeeded, failed, other";
    figure("ends-chart", title, &description, days, &scale, &bars)
}

fn times_chart(days: &[DayStats], all: &Spread) -> String {
    let max = days.iter().filter_map(|day| day.duration_micros.p90).max().unwrap_or(0);
    let mut bars = String::new();
    for (n, day) in days.iter().enumerate() {
        let (half, most) = (day.duration_micros.p50.unwrap_or(0), day.duration_micros.p90.unwrap_or(0));
        bar(&mut bars, "most", (n, days.len()), (half, most, max));
        bar(&mut bars, "half", (n, days.len()), (0, half, max));
    }
    let description = format!(
        "Over all of these days half of the builds took at most {}, nine of ten at most {}.",
        time(all.p50),
        time(all.p90)
    );
    let scale = format!("up to {}", time(Some(max)));
    let title = "Duration: half, nine of ten";
    figure("times-chart", title, &description, days, &scale, &bars)
}

/// The days that have something, the last one first.
fn table(days: &[DayStats]) -> String {
    let error = (RELATIVE_ERROR * 100.0).ceil();
    let mut out = format!(
        "<details class=\"by-day\"><summary>As a table</summary>\
         <p class=\"note muted\">Times are known to {error} %. A build that was retried counts by its last end; one that was \
         deleted still counts.</p><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Statistics by day\"><table class=\"numbers\"><thead><tr><th scope=\"col\">Day</th>\
         <th scope=\"col\">Succeeded</th><th scope=\"col\">Failed</th><th scope=\"col\">Other</th>\
         <th scope=\"col\">Half took</th><th scope=\"col\">Nine of ten</th><th scope=\"col\">99 of 100</th>\
         <th scope=\"col\">Half waited</th><th scope=\"col\">Nine of ten waited</th></tr></thead><tbody>"
    );
    for day in days.iter().rev().filter(|day| day.builds.total() > 0 || day.queue_micros.count > 0) {
        let ends = &day.builds;
        let (took, waited) = (&day.duration_micros, &day.queue_micros);
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            day.day,
            grouped(ends.succeeded),
            grouped(ends.failed + ends.timed_out),
            grouped(ends.cancelled + ends.skipped),
            time(took.p50),
            time(took.p90),
            time(took.p99),
            time(waited.p50),
            time(waited.p90),
        );
    }
    out.push_str("</tbody></table></div></details>");
    out
}

fn steps(steps: &[StepStats]) -> String {
    let mut out = String::from("<div class=\"ranking\"><h3>Slowest steps</h3>");
    if steps.is_empty() {
        out.push_str("<p class=\"note quiet\">No step has ended yet.</p></div>");
        return out;
    }
    out.push_str(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Slowest steps\"><table class=\"numbers\"><thead><tr><th scope=\"col\">Step</th><th scope=\"col\">Times</th>\
         <th scope=\"col\">On average</th><th scope=\"col\">Nine of ten</th></tr></thead><tbody>",
    );
    for step in steps {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{} <span class=\"muted\">{}</span></th><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&step.step),
            escaped(&step.job),
            grouped(step.duration_micros.count),
            time(Some(step.mean_micros)),
            time(step.duration_micros.p90),
        );
    }
    out.push_str("</tbody></table></div></div>");
    out
}

fn jobs(jobs: &[JobStats]) -> String {
    let mut out = String::from("<div class=\"ranking\"><h3>Flaky jobs</h3>");
    if jobs.is_empty() {
        out.push_str(
            "<p class=\"note quiet\">None: no job failed and then succeeded, and no executor was lost.</p></div>",
        );
        return out;
    }
    out.push_str(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Flaky jobs\"><table class=\"numbers\"><thead><tr><th scope=\"col\">Job</th>\
         <th scope=\"col\" title=\"Succeeded after an attempt had failed\">Failed first</th>\
         <th scope=\"col\">Succeeded</th><th scope=\"col\" title=\"Attempts whose executor was lost\">Lost</th></tr></thead><tbody>",
    );
    for job in jobs {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&job.job),
            grouped(job.flaky),
            grouped(job.succeeded),
            grouped(job.lost_attempts),
        );
    }
    out.push_str("</tbody></table></div></div>");
    out
}

#[cfg(test)]
mod tests {
    use wire::statistics::Ends;

    use super::*;

    fn stats() -> StatsView {
        let spread = Spread { count: 3, p50: Some(2_000_000), p90: Some(4_000_000), p99: Some(4_000_000) };
        let builds = Ends { succeeded: 2, failed: 1, ..Ends::default() };
        let day = |day: &str| DayStats { day: day.to_owned(), ..DayStats::default() };
        let busy = DayStats { builds, duration_micros: spread, ..day("2026-11-28") };
        let step = StepStats {
            pipeline: "site".parse().unwrap(),
            job: "check <unit>".to_owned(),
            step: "</td><script>alert(1)</script> & 'x' \"y\"".to_owned(),
            mean_micros: 3_000_000,
            duration_micros: spread,
        };
        StatsView {
            days: vec![day("2026-11-27"), busy],
            builds,
            duration_micros: spread,
            slowest_steps: vec![step],
            ..StatsView::default()
        }
    }

    #[test]
    fn what_a_person_wrote_is_text() {
        let html = html(&stats());
        assert!(!html.contains("<script") && html.contains("&lt;/td&gt;&lt;script&gt;alert(1)"), "{html}");
        assert!(html.contains("check &lt;unit&gt;") && html.contains("&amp; &#39;x&#39; &quot;y&quot;"), "{html}");
    }

    #[test]
    fn a_chart_says_in_words_and_in_a_table_what_it_shows() {
        let html = html(&stats());
        assert!(html.contains("3 builds in the last 2 days: 66 % succeeded, half of them within 2.0 s"), "{html}");
        assert_eq!(html.matches("<svg").count(), 2);
        for part in ["role=\"img\"", "<title id=", "<desc id=", "The busiest day had 3 builds", "2026-11-27</span>"] {
            assert!(html.contains(part), "{part}: {html}");
        }
        // The good and the bad of the busy day, and its two times.
        assert_eq!(html.matches("<rect").count(), 4);
        assert_eq!(html.matches("<th scope=\"row\">2026").count(), 1, "a day without builds is no row");
    }

    #[test]
    fn without_builds_it_says_so() {
        assert!(html(&StatsView::default()).contains("No finished builds yet"));
    }
}
