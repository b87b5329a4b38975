//! Commands that explain: why a service is as it is, and what the loss of workers would do.
//!
//! They change nothing.

use serde_json::json;
use tucano_common::wire::views::{DecisionView, SimulationView, WhyView};
use tucano_net::Method;
use tucano_net::config::Flags;
use tucano_net::url::percent_encode;

use super::show::{fields, instance_table, look};
use super::{CliError, Session, argument, print};
use crate::api;
use crate::text::{self, Table};

/// A line a worker: what it was found to be, and what would change it.
pub(super) fn verdict_table(decision: &DecisionView) -> String {
    let mut table = Table::new(&["WORKER", "VERDICT", "WHY"]);
    for verdict in &decision.verdicts {
        let (worker, why) = (verdict.worker.to_string(), verdict.reason.clone());
        table.row([worker, verdict.verdict.clone(), why]);
    }
    table.render()
}

/// `tucano why NAME`.
pub(super) fn why(session: &Session, flags: Flags) -> Result<(), CliError> {
    let name = argument(flags, "NAME")?;
    let target = format!("/v1/services/{}/why", percent_encode(&name));
    look(session, &target, |why: &WhyView| {
        let mut text = fields(&[
            ("service", format!("{} revision {}", why.service, why.revision)),
            ("state", why.state.as_str().to_owned()),
            ("reason", why.reason.clone().unwrap_or_default()),
            ("healthy", format!("{} of {}", why.healthy, why.wanted)),
        ]);
        text.push_str(&format!("\n{}", instance_table(&why.instances)));
        if let Some(next) = &why.next {
            let where_to = match &next.chosen {
                Some(worker) => format!("one more would go to {worker}"),
                None => "one more would fit nowhere".to_owned(),
            };
            text.push_str(&format!("\n{}\n{}", text::escape(&where_to), verdict_table(next)));
        }
        text
    })
}

/// `tucano simulate WORKER...`.
pub(super) fn simulate(session: &Session, flags: Flags) -> Result<(), CliError> {
    let lose = flags.rest()?;
    if lose.is_empty() {
        let text = "it takes the workers that are lost; see tucano --help";
        return Err(CliError::Usage(text.to_owned()));
    }
    let body = json!({ "lose": lose }).to_string();
    let answer = session.api.send(Method::Post, "/v1/simulate", Some(body.as_bytes()))?;
    if session.json {
        return Session::print_json(&answer);
    }
    print(&outcome(&api::read("/v1/simulate", &answer)?))
}

fn outcome(found: &SimulationView) -> String {
    let mut table = Table::new(&["INSTANCE", "SERVICE", "FROM", "TO", "REMARK"]);
    for each in &found.moves {
        table.row([
            each.instance.to_string(),
            each.service.to_string(),
            each.from.as_ref().map(ToString::to_string).unwrap_or_default(),
            each.to.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string),
            each.waits_for.as_ref().map(|what| format!("waits for {what}")).unwrap_or_default(),
        ]);
    }
    let mut text = if table.is_empty() {
        "no instance would have to move\n".to_owned()
    } else {
        table.render()
    };
    for short in &found.short {
        let (placed, wanted) = (short.placed, short.wanted);
        text.push_str(&format!("{} would have {placed} of {wanted} instances\n", short.service));
    }
    if found.fits {
        text.push_str("everything would fit\n");
    }
    text
}
