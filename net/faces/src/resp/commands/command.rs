//! `COMMAND` and its subcommands: the table as clients read it.

use super::{Call, CommandOutcome, Ran, SYNTAX_ERROR, config::glob, is};
use crate::resp::reply::Reply;
use crate::resp::request::{Keys, Request};
use crate::resp::table::{self, Spec, TABLE};

pub fn all(c: &mut Call<'_>) -> Ran {
    c.reply.array(TABLE.len());
    TABLE.iter().for_each(|spec| entry(&mut c.reply, spec));
    Ok(CommandOutcome::Done)
}

/// The ten fields of an entry: name, arity, flags, first key, last key, step, categories, tips, key
/// specifications (none: the three positions say it all), subcommands.
fn entry(reply: &mut Reply<'_>, spec: &Spec) {
    reply.array(10);
    reply.bulk(spec.full_name.as_bytes());
    reply.integer(spec.arity.into());
    words(reply, spec.flags.names());
    let (first, last, step) = spec.keys;
    [first, last, step].into_iter().for_each(|position| reply.integer(position.into()));
    words(reply, spec.categories());
    reply.array(0);
    reply.array(0);
    reply.array(spec.subs.len());
    spec.subs.iter().for_each(|sub| entry(reply, sub));
}

/// A set of words.
fn words(reply: &mut Reply<'_>, words: impl Iterator<Item = &'static str> + Clone) {
    reply.set(words.clone().count());
    words.for_each(|word| reply.simple(word));
}

pub fn count(c: &mut Call<'_>) -> Ran {
    c.reply.integer(TABLE.len() as i64);
    Ok(CommandOutcome::Done)
}

/// A command or, as `container|name`, a subcommand.
fn named(name: &[u8]) -> Option<&'static Spec> {
    match name.iter().position(|b| *b == b'|') {
        None => table::find(name),
        Some(bar) => {
            let subs = table::find(&name[..bar])?.subs;
            subs.iter().find(|sub| name[bar + 1..].eq_ignore_ascii_case(sub.name.as_bytes()))
        }
    }
}

pub fn info(c: &mut Call<'_>) -> Ran {
    if c.request.len() == 2 {
        return all(c);
    }
    c.reply.array(c.request.len() - 2);
    for name in c.request.args_from(2) {
        match named(name) {
            Some(spec) => entry(&mut c.reply, spec),
            None => c.reply.null_array(),
        }
    }
    Ok(CommandOutcome::Done)
}

pub fn docs(c: &mut Call<'_>) -> Ran {
    let specs: Vec<&Spec> = match c.request.len() {
        2 => TABLE.iter().collect(),
        _ => c.request.args_from(2).filter_map(named).collect(),
    };
    c.reply.map(specs.len());
    specs.into_iter().for_each(|spec| doc(&mut c.reply, spec));
    Ok(CommandOutcome::Done)
}

fn doc(reply: &mut Reply<'_>, spec: &Spec) {
    reply.bulk(spec.full_name.as_bytes());
    reply.map(if spec.subs.is_empty() { 2 } else { 3 });
    reply.bulk(b"summary");
    reply.bulk(spec.summary.as_bytes());
    reply.bulk(b"group");
    reply.bulk(spec.group.as_bytes());
    if !spec.subs.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(spec.subs.len());
        spec.subs.iter().for_each(|sub| doc(reply, sub));
    }
}

/// `COMMAND LIST [FILTERBY MODULE m | ACLCAT c | PATTERN p]`.
pub fn list(c: &mut Call<'_>) -> Ran {
    let request = c.request;
    let keep: Box<dyn Fn(&Spec) -> bool> = match request.len() {
        2 => Box::new(|_| true),
        5 if is(request.arg(2), "FILTERBY") => {
            let wanted = request.arg(4);
            match request.arg(3) {
                by if is(by, "MODULE") => Box::new(|_| false),
                by if is(by, "ACLCAT") => {
                    Box::new(move |spec| spec.categories().any(|category| is(wanted, &category[1..])))
                }
                by if is(by, "PATTERN") => Box::new(move |spec| glob(wanted, spec.name.as_bytes())),
                _ => return Err(SYNTAX_ERROR.into()),
            }
        }
        _ => return Err(SYNTAX_ERROR.into()),
    };
    let names: Vec<_> = TABLE.iter().filter(|spec| keep(spec)).map(|spec| spec.name).collect();
    c.reply.set(names.len());
    names.iter().for_each(|name| c.reply.bulk(name.as_bytes()));
    Ok(CommandOutcome::Done)
}

pub fn getkeys(c: &mut Call<'_>) -> Ran {
    let asked = Request::new(c.request.args_from(2).collect());
    let Some(spec) = asked.spec() else { return Err("ERR Invalid command specified".into()) };
    if spec.keys == (0, 0, 0) {
        return Err("ERR The command has no key arguments".into());
    }
    if !spec.takes(asked.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    let keys = Keys::of(&asked, spec);
    c.reply.array(keys.count());
    keys.for_each(|key| c.reply.bulk(key));
    Ok(CommandOutcome::Done)
}
