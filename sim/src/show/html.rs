//! The timeline as a page that needs nothing but itself.
//!
//! Every moment is a row of the page's own text, so that it can be read without scripts. The script
//! draws lanes beside the rows and the map above them, from the story as JSON, and filters.

use std::fmt::Write;

use super::{Actor, Kind, Moment, Story, milliseconds};
use crate::event::What;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The story as HTML; `replay` is the command line that shows it again.
///
/// # Errors
/// Only such as JSON has.
pub fn page(story: &Story, replay: &str) -> serde_json::Result<String> {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut out, story, replay, &json(story)?);
    Ok(out)
}

/// JSON that can stand in a page: nothing in it ends the element, or begins another.
fn json(story: &Story) -> serde_json::Result<String> {
    Ok(serde_json::to_string(story)?
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029"))
}

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

fn write_page(out: &mut String, story: &Story, replay: &str, json: &str) -> std::fmt::Result {
    let flow = escape(&story.case.flow);
    let came = if story.failure.is_some() { "failed" } else { "as promised" };
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{flow}: {came}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    )?;
    write_head(out, story, replay)?;
    out.push_str(TOOLS);
    write_kinds(out, &story.actors)?;
    out.push_str("</div>\n");
    write_map(out, &story.actors)?;
    out.push_str("<main>\n<svg id=\"lanes\" aria-hidden=\"true\"></svg>\n<ol id=\"rows\">\n");
    for (at, moment) in story.moments.iter().enumerate() {
        write_row(out, story, at, moment)?;
    }
    write_end(out, story)?;
    out.push_str("</ol>\n</main>\n<aside id=\"details\" hidden></aside>\n");
    writeln!(out, "<script type=\"application/json\" id=\"story\">{json}</script>")?;
    write!(out, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n")
}

const TOOLS: &str = "<div id=\"tools\" role=\"toolbar\" aria-label=\"Filters and jumps\">\n\
    <input id=\"search\" type=\"search\" placeholder=\"Search ( / )\" aria-label=\"Search\">\n\
    <select id=\"calls\" aria-label=\"Call\"><option value=\"\">every call</option></select>\n\
    <label><input id=\"errors\" type=\"checkbox\"> errors only</label>\n\
    <span class=\"jumps\">\n\
    <button data-jump=\"fault\" title=\"Next planned fault (n), previous (p)\">faults</button>\n\
    <button data-jump=\"decided\" title=\"Next decision (d), previous (shift d)\">decisions</button>\n\
    <button data-jump=\"failure\" title=\"Where it failed (f)\">failure</button>\n\
    </span>\n\
    <span class=\"jumps\"><button id=\"out\" title=\"Zoom out (-)\">−</button>\
    <button id=\"in\" title=\"Zoom in (+)\">+</button></span>\n\
    <button id=\"theme\" title=\"Light or dark\">◐</button>\n\
    <span id=\"shown\" role=\"status\"></span>\n";

fn write_head(out: &mut String, story: &Story, replay: &str) -> std::fmt::Result {
    let class = if story.failure.is_some() { "bad" } else { "good" };
    let verdict = if story.failure.is_some() { "Failed" } else { "As promised" };
    write!(
        out,
        "<header class=\"{class}\">\n<h1><span class=\"verdict\">{verdict}</span> {}</h1>\n",
        escape(&story.case.flow)
    )?;
    if let Some(failure) = &story.failure {
        write!(
            out,
            "<dl class=\"failure\">\n<dt>Oracle</dt><dd><b>{}</b></dd>\n<dt>Promised</dt>\
             <dd>{}</dd>\n<dt>Seen</dt><dd class=\"objection\">{}</dd>\n</dl>\n",
            escape(failure.oracle),
            escape(failure.promise),
            escape(&failure.objection)
        )?;
        write_suspects(out, story)?;
        if !failure.log.is_empty() {
            writeln!(
                out,
                "<details open><summary>What the shims logged</summary><pre>{}</pre></details>",
                escape(&failure.log)
            )?;
        }
    }
    write_facts(out, story)?;
    write!(
        out,
        "<details><summary>The tape</summary><p>Again: <code>{}</code></p>\
         <pre>{}</pre></details>\n</header>\n",
        escape(replay),
        escape(&story.tape)
    )
}

fn write_facts(out: &mut String, story: &Story) -> std::fmt::Result {
    out.push_str("<p class=\"facts\">");
    if let Some(bug) = story.case.bug {
        write!(out, "<span class=\"bug\">planted bug {}: {}</span> ", bug.name(), bug.what())?;
    }
    let calls = story.moments.iter().filter(|it| matches!(it.event.what, What::Calls { .. }));
    let last = story.moments.last().map_or(0, |moment| moment.event.clock);
    let facts = [
        format!("{} calls", calls.count()),
        format!("{} processes", story.actors.len()),
        format!("{} ms of its clock", milliseconds(last)),
        format!("{} of {} answers not plain", story.decisions, story.questions),
        format!("{} faults struck", story.moments.iter().filter(|it| it.is_fault()).count()),
    ];
    facts.iter().try_for_each(|fact| write!(out, "<span>{fact}</span> "))?;
    out.push_str("</p>\n");
    Ok(())
}

/// Links to where a reader wants to look first: who is left, and the planned faults.
fn write_suspects(out: &mut String, story: &Story) -> std::fmt::Result {
    const SHOWN: usize = 12;
    let is_suspect = |it: &Moment| it.is_fault() || matches!(it.event.what, What::Left { .. });
    let suspects = story.moments.iter().enumerate().filter(|(_, it)| is_suspect(it));
    let count = suspects.clone().count();
    if count == 0 {
        return Ok(());
    }
    out.push_str("<ul class=\"suspects\">\n");
    for (at, moment) in suspects.take(SHOWN) {
        let actor = &story.actors[moment.actor];
        let [verb, about, result] = moment.told(&story.actors);
        let space = if about.starts_with('(') { "" } else { " " };
        let text = escape(&format!("{} {} {verb}{space}{about} {result}", actor.pid, actor.name));
        write!(out, "<li><a href=\"#e{at}\">{text}</a>")?;
        if let Some(since) = moment.since {
            write!(out, ", <a href=\"#e{since}\">since event {since}</a>")?;
        }
        out.push_str("</li>\n");
    }
    if count > SHOWN {
        writeln!(out, "<li>and {} more</li>", count - SHOWN)?;
    }
    out.push_str("</ul>\n");
    Ok(())
}

fn write_kinds(out: &mut String, actors: &[Actor]) -> std::fmt::Result {
    out.push_str("<span class=\"kinds\">\n");
    for kind in Kind::ALL {
        let count = actors.iter().filter(|actor| actor.kind == kind).count();
        if count > 0 {
            let name = kind.name();
            writeln!(
                out,
                "<button class=\"k-{name}\" data-kind=\"{name}\" aria-pressed=\"true\" \
                 title=\"Show or hide\">{name} {count}</button>"
            )?;
        }
    }
    out.push_str("</span>\n");
    Ok(())
}

fn write_map(out: &mut String, actors: &[Actor]) -> std::fmt::Result {
    out.push_str(
        "<section id=\"map\" aria-label=\"Everybody who took part\">\n<ol id=\"actors\">\n",
    );
    for (place, Actor { pid, kind, name, argv, .. }) in actors.iter().enumerate() {
        writeln!(
            out,
            "<li><button class=\"k-{}\" data-actor=\"{place}\" aria-pressed=\"true\" title=\"{}\">\
             <b>{pid}</b> {}</button></li>",
            kind.name(),
            escape(&argv.join(" ")),
            escape(name)
        )?;
    }
    out.push_str("</ol>\n<div id=\"chart\"><svg id=\"lines\"></svg></div>\n</section>\n");
    Ok(())
}

fn write_row(out: &mut String, story: &Story, at: usize, moment: &Moment) -> std::fmt::Result {
    let actor = &story.actors[moment.actor];
    let [verb, about, result] = moment.told(&story.actors);
    let mut class = format!("m-{}", moment.word());
    if moment.is_fault() {
        class.push_str(" fault");
    }
    if moment.is_decided() {
        class.push_str(" decided");
    }
    if let What::Calls { errno: Some(errno), .. } = moment.event.what {
        // An error that says to come again is how waiting looks.
        class.push_str(if errno == wavetank::host::Errno::EAGAIN { " again" } else { " error" });
    }
    write!(
        out,
        "<li id=\"e{at}\" class=\"{class}\"><a class=\"n\" href=\"#e{at}\">{at}</a>\
         <span class=\"t\">{}</span><span class=\"w k-{}\">{} {}</span>\
         <span class=\"x\"><b>{verb}</b>{}{} <i>{}</i>",
        milliseconds(moment.event.clock),
        actor.kind.name(),
        actor.pid,
        escape(&actor.name),
        if about.starts_with('(') { "" } else { " " },
        escape(&about),
        escape(&result)
    )?;
    if let Some(since) = moment.since {
        write!(out, " <a class=\"since\" href=\"#e{since}\">after waiting since {since}</a>")?;
    }
    let decisions = moment.decisions();
    if !decisions.is_empty() {
        let text = escape(&decisions.join("; "));
        write!(out, " <span class=\"d\" title=\"{text}\">◆ {text}</span>")?;
    }
    out.push_str("</span></li>\n");
    Ok(())
}

/// The last row: what the oracles said when all was over.
fn write_end(out: &mut String, story: &Story) -> std::fmt::Result {
    let (class, text) = match &story.failure {
        Some(failure) => ("failed", format!("✗ {}: {}", failure.oracle, failure.objection)),
        None => ("passed", "✓ as promised".to_owned()),
    };
    writeln!(
        out,
        "<li id=\"end\" class=\"end {class}\"><span class=\"n\">end</span>\
         <span class=\"t\"></span><span class=\"w\">oracles</span>\
         <span class=\"x\"><b>{}</b></span></li>",
        escape(&text)
    )
}
