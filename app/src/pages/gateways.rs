//! `/gateways`: who holds the sockets of pages, and how busy each of their workers is.

use leptos::prelude::*;
use wire::view::{GatewayView, InstallationView};

use crate::components::{
    at_once::AtOnce,
    connection::grouped,
    installation::{Answers, installation_page, presence},
    worker_table::{totals, worker_table},
};

/// The route.
#[component]
pub fn GatewaysRoute() -> impl IntoView {
    installation_page("Gateways", show)
}

fn many(number: u64, word: &str) -> String {
    format!("{} {word}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn show(now: &InstallationView, _: Answers) -> AnyView {
    let alive = now.gateways.iter().filter(|gateway| gateway.alive);
    let [sockets, topics, ..] = totals(alive.flat_map(|gateway| &gateway.workers));
    let count = format!("{}, {}", many(sockets, "socket"), many(topics, "topic"));
    AtOnce(view! {
        <div class="heading">
            <h1>"Gateways"</h1>
            <span class="count">{count}</span>
        </div>
        <p class="about">"A gateway holds the sockets of open pages. Each tells of itself every few seconds. What none of them could read is among the "
            <a href="/dead-letters">"dead letters"</a> ". What is built from the events of builds tell the " <a href="/groups">"consumer groups"</a> "."
        </p>
        {now.gateways.iter().map(gateway).collect_view()}
    })
    .into_any()
}

fn gateway(gateway: &GatewayView) -> AnyView {
    let GatewayView { instance, workers, heard_at, alive } = gateway;
    AtOnce(view! {
        <section class=if *alive { "gateway" } else { "gateway gone" }>
            <div class="list-heading">
                <h2>{instance.clone()}</h2>
                {presence(*alive, *heard_at)}
            </div>
            {worker_table(instance, workers)}
        </section>
    })
    .into_any()
}
