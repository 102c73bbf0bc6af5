//! What this copy of the program is among others, where there are any: who does not act must not seem to.

use maud::{Markup, html};

use super::{Daemon, ago, prose, time};

/// At the top of every page.
pub(super) fn banner(daemon: &Daemon) -> Markup {
    let now = daemon.now;
    html! {
        @if let Some(others) = &daemon.copy.others {
            div #copies.banner.bad {
                (prose(&others.sentence()))
                p { "Fly's DNS has shown them since " (time(others.since, now)) ". What to do: " (prose(&others.advice())) }
            }
        }
        @if let Some(role) = &daemon.copy.role {
            @if let Some(since) = role.holds_since {
                p #copy.soft.small { (prose(&role.sentence())) " Since " (time(since, now)) ", " (ago(since, now)) "." }
            } @else {
                div #copy.banner {
                    (prose(&role.sentence()))
                    @if role.shards.is_none() {
                        p { "It looks and plans like the one that acts, to be ready. Nothing that is shown here was done by it, unless it held the lock then." }
                    }
                    @if let Some(lost) = role.lost {
                        p { "It lost the lock at " (time(lost.at, now)) ": " (lost.how.words()) ". It competes for it again." }
                    }
                }
            }
            @if let Some(silence) = &role.silence {
                div #consul.banner.bad {
                    "Consul is of no use: no copy that cannot take or renew the lock writes."
                    p { "Since " (time(silence.since, now)) ", " (ago(silence.since, now)) ". Now: " (prose(&silence.why)) }
                }
            }
        } @else if daemon.copy.others.is_none() && !daemon.dry_run && daemon.demo.is_none() {
            p #copy.soft.small { "This copy has no lock: it is to be the only one." }
        }
    }
}
