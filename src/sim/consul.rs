//! A simulated Consul, as far as a lock needs one: nodes, sessions with a TTL, and a key-value store that waits.
//!
//! As the real one it ends a session between once and twice its TTL after it last heard of it, and gives a lock whose
//! session was ended so to nobody before the lock-delay is over. Tokens have a right or not for each of nodes, sessions and
//! keys, all below one prefix.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    faults::Operation,
    random::Random,
    server::Incoming,
    wire::{self, Answer},
};

/// The longest that a reader waits for a change.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long a reader waits who does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(300);

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsulRight {
    /// Make nodes known.
    Node,
    /// Open, renew and end sessions.
    Session,
    /// Read keys.
    ReadKey,
    /// Change keys.
    WriteKey,
}

/// The simulated Consul.
#[derive(Debug, Clone)]
pub struct Consul {
    random: Random,
    now: Duration,
    index: u64,
    opened: u64,
    nodes: BTreeSet<String>,
    sessions: BTreeMap<String, Session>,
    keys: BTreeMap<String, Key>,
    /// When each key was removed that was.
    removed: BTreeMap<String, u64>,
    /// Until when each key is given to nobody.
    delays: BTreeMap<String, Duration>,
    token: Option<String>,
    prefix: String,
    missing: BTreeSet<ConsulRight>,
    has_leader: bool,
    honours_delays: bool,
    pace: u32,
}

#[derive(Debug, Clone)]
struct Session {
    node: String,
    name: String,
    ttl: Duration,
    delay: Duration,
    deletes: bool,
    expires: Duration,
}

#[derive(Debug, Clone)]
struct Key {
    value: Vec<u8>,
    session: Option<String>,
    created: u64,
    modified: u64,
    locked: u64,
}

/// To be told when a key is another than it was.
#[derive(Debug, Clone)]
pub(super) struct KeyOrder {
    key: String,
    /// Whether all keys are meant that begin so.
    is_prefix: bool,
    index: u64,
    until: Duration,
}

impl KeyOrder {
    /// Ends the wait, where so much time has passed for whoever waits.
    pub(super) fn expire_after(&mut self, passed: Duration, now: Duration) {
        if passed >= DEFAULT_WAIT {
            self.until = now;
        }
    }
}

impl Consul {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed ^ 0xC0_5001),
            now: Duration::ZERO,
            index: 1,
            opened: 0,
            nodes: BTreeSet::new(),
            sessions: BTreeMap::new(),
            keys: BTreeMap::new(),
            removed: BTreeMap::new(),
            delays: BTreeMap::new(),
            token: None,
            prefix: String::new(),
            missing: BTreeSet::new(),
            has_leader: true,
            honours_delays: true,
            pace: 1,
        }
    }

    /// Accepts this token alone, and with it only what is below `prefix`.
    pub fn set_token(&mut self, token: &str, prefix: &str) {
        self.token = Some(token.to_owned());
        prefix.clone_into(&mut self.prefix);
    }

    /// Gives or takes a right of the token.
    pub fn set_right(&mut self, right: ConsulRight, has: bool) {
        if has {
            self.missing.remove(&right);
        } else {
            self.missing.insert(right);
        }
    }

    /// Lets sessions live, and readers wait, so many times as long: for who lives at another pace than the platform's time.
    /// Lock-delays are not longer.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is clamped"
    )]
    pub fn set_pace(&mut self, pace: f64) {
        self.pace = pace.ceil().clamp(1.0, 1e6) as u32;
    }

    /// Without a leader every request is answered with 500.
    pub fn set_leader(&mut self, has_leader: bool) {
        self.has_leader = has_leader;
    }

    /// Whether lock-delays count; a Consul that has just elected its leader knows of none.
    pub fn set_lock_delays(&mut self, count: bool) {
        self.honours_delays = count;
        if !count {
            self.delays.clear();
        }
    }

    /// Another leader: lock-delays are forgotten, and each session lives on as if it had just been renewed.
    pub fn elect(&mut self) {
        self.delays.clear();
        let ids: Vec<String> = self.sessions.keys().cloned().collect();
        for id in ids {
            self.refresh(&id);
        }
    }

    /// Removes a key by hand.
    pub fn delete_key(&mut self, key: &str) {
        self.keys.remove(key);
        self.index += 1;
        self.removed.insert(key.to_owned(), self.index);
    }

    /// Writes a key by hand: who has locked it still has, and its locks are counted from none anew.
    pub fn write_key(&mut self, key: &str, value: &str) {
        self.index += 1;
        let index = self.index;
        let entry = self.keys.entry(key.to_owned()).or_insert_with(|| Key {
            value: Vec::new(),
            session: None,
            created: index,
            modified: index,
            locked: 0,
        });
        entry.value = value.into();
        entry.modified = index;
        entry.locked = 0;
    }

    /// Locks a key for a session of somebody else, which does not expire.
    pub fn lock_key(&mut self, key: &str, value: &str) {
        self.opened += 1;
        let id = format!("somebody-{}", self.opened);
        let session = Session {
            node: self.prefix.clone(),
            name: String::new(),
            ttl: Duration::MAX,
            delay: Duration::ZERO,
            deletes: false,
            expires: Duration::MAX,
        };
        self.sessions.insert(id.clone(), session);
        self.acquire(key, id, value.into());
    }

    /// Whose session has locked a key.
    #[must_use]
    pub fn holder(&self, key: &str) -> Option<&str> {
        self.keys.get(key)?.session.as_deref()
    }

    /// What a key holds.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<String> {
        let key = self.keys.get(key)?;
        Some(String::from_utf8_lossy(&key.value).into_owned())
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// The sessions that have not ended.
    pub fn sessions(&self) -> impl Iterator<Item = &str> {
        self.sessions.keys().map(String::as_str)
    }

    /// Ends a session, as its time or its node's end does.
    pub fn end_session(&mut self, id: &str) {
        self.end(id, self.now);
    }

    pub(super) fn advance(&mut self, now: Duration) {
        loop {
            let due = self.sessions.iter().min_by_key(|(_, one)| one.expires);
            let Some((id, at)) = due.map(|(id, one)| (id.clone(), one.expires)) else {
                break;
            };
            if at > now {
                break;
            }
            self.end(&id, at);
        }
        self.now = self.now.max(now);
    }

    fn end(&mut self, id: &str, at: Duration) {
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        let held = self.keys.iter_mut();
        let held: Vec<String> = held
            .filter(|(_, key)| key.session.as_deref() == Some(id))
            .map(|(name, _)| name.clone())
            .collect();
        for name in held {
            self.index += 1;
            if session.deletes {
                self.keys.remove(&name);
                self.removed.insert(name.clone(), self.index);
            } else if let Some(key) = self.keys.get_mut(&name) {
                key.session = None;
                key.modified = self.index;
            }
            if self.honours_delays {
                self.delays.insert(name, at + session.delay);
            }
        }
    }

    fn refresh(&mut self, id: &str) {
        let now = self.now;
        if let Some(session) = self.sessions.get_mut(id) {
            let ttl = session.ttl * self.pace;
            let life = self.random.between(ttl, ttl * 2);
            session.expires = now + life;
        }
    }

    /// Answers a request, or says what its answer waits for.
    pub(super) fn ask(&mut self, incoming: &Incoming) -> Result<Answer, KeyOrder> {
        let path = incoming.segments();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if !self.has_leader {
            return Ok(plain(500, "No cluster leader"));
        }
        let name = match path.get(2..) {
            Some(rest) if path[1] == "kv" => rest.join("/"),
            Some([.., id]) => (*id).to_owned(),
            _ => String::new(),
        };
        let (right, subject) = match incoming.route.operation {
            Operation::RegisterNode | Operation::OpenSession => {
                let body: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
                let node = body["Node"].as_str().unwrap_or_default().to_owned();
                let right = match incoming.route.operation {
                    Operation::RegisterNode => ConsulRight::Node,
                    _ => ConsulRight::Session,
                };
                (right, node)
            }
            Operation::RenewSession | Operation::DestroySession => {
                let session = self.sessions.get(&name);
                let node = session.map_or(self.prefix.clone(), |session| session.node.clone());
                (ConsulRight::Session, node)
            }
            Operation::ListSessions => (ConsulRight::Session, name.clone()),
            Operation::ReadKey => (ConsulRight::ReadKey, name.clone()),
            _ => (ConsulRight::WriteKey, name.clone()),
        };
        if let Some(refusal) = self.refusal(incoming, right, &subject) {
            return Ok(refusal);
        }
        Ok(match incoming.route.operation {
            Operation::RegisterNode => {
                self.nodes.insert(subject);
                text("true".to_owned())
            }
            Operation::OpenSession => self.open(&incoming.body),
            Operation::RenewSession => {
                if !self.sessions.contains_key(&name) {
                    return Ok(plain(404, &format!("Session id '{name}' not found")));
                }
                self.refresh(&name);
                text(json!([{ "ID": name, "TTL": "15s" }]).to_string())
            }
            Operation::DestroySession => {
                self.end(&name, self.now);
                text("true".to_owned())
            }
            Operation::ListSessions => self.list(&name),
            Operation::ReadKey => return self.read(name, &incoming.query),
            _ => self.write(&name, incoming),
        })
    }

    fn refusal(&self, incoming: &Incoming, right: ConsulRight, subject: &str) -> Option<Answer> {
        let shown = incoming.header("x-consul-token");
        if self.token.is_some() && shown != self.token.as_deref() {
            return Some(plain(403, "ACL not found"));
        }
        let is_ours = subject.starts_with(&self.prefix);
        (!is_ours || self.missing.contains(&right)).then(|| plain(403, "Permission denied"))
    }

    fn open(&mut self, body: &[u8]) -> Answer {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let node = body["Node"].as_str().unwrap_or_default();
        if !self.nodes.contains(node) {
            return plain(500, "Missing node registration");
        }
        // Without them it would be the health of an agent, which such a node has not.
        if body["Checks"] != json!([]) || body["NodeChecks"] != json!([]) {
            return plain(500, "Missing check 'serfHealth' registration");
        }
        let seconds = |field: &str| {
            let text = body[field].as_str()?.strip_suffix('s')?;
            text.parse().ok().map(Duration::from_secs)
        };
        let ttl = seconds("TTL").filter(|ttl| (10..=86400).contains(&ttl.as_secs()));
        let (Some(ttl), Some(delay)) = (ttl, seconds("LockDelay")) else {
            return plain(400, "Request decode failed");
        };
        self.opened += 1;
        let id = format!(
            "{:08x}-0000-4000-8000-{:012x}",
            self.random.bits() >> 32,
            self.opened
        );
        let session = Session {
            node: node.to_owned(),
            name: body["Name"].as_str().unwrap_or_default().to_owned(),
            ttl,
            delay,
            deletes: body["Behavior"] == "delete",
            expires: Duration::MAX,
        };
        self.sessions.insert(id.clone(), session);
        self.refresh(&id);
        text(json!({ "ID": id }).to_string())
    }

    fn list(&self, node: &str) -> Answer {
        let of_node = self.sessions.iter().filter(|(_, one)| one.node == node);
        let listed = of_node.map(|(id, one)| json!({ "ID": id, "Name": one.name, "Node": node }));
        let mut answer = text(json!(listed.collect::<Vec<_>>()).to_string());
        answer.header("X-Consul-Index", &self.index.to_string());
        answer
    }

    fn read(&self, key: String, query: &str) -> Result<Answer, KeyOrder> {
        let index = wire::parameter(query, "index").and_then(|index| index.parse().ok());
        let wait = wire::parameter(query, "wait");
        let wait = wait.and_then(|wait| wait.strip_suffix('s')?.parse().ok());
        let wait = wait.map_or(DEFAULT_WAIT, Duration::from_secs);
        let order = KeyOrder {
            key,
            is_prefix: query.split('&').any(|parameter| parameter == "recurse"),
            index: index.unwrap_or(0),
            until: self.now + wait.min(LONGEST_WAIT) * self.pace,
        };
        self.waited(&order).ok_or(order)
    }

    /// The answer to who waits, once there is one.
    pub(super) fn waited(&self, order: &KeyOrder) -> Option<Answer> {
        let is_meant =
            |name: &str| name == order.key || order.is_prefix && name.starts_with(&order.key);
        let keys = self.keys.iter().filter(|(name, _)| is_meant(name));
        let changes = keys.clone().map(|(_, key)| key.modified);
        let removed = self.removed.iter().filter(|_| order.is_prefix);
        let removed = removed.filter(|(name, _)| is_meant(name));
        let changes = changes.chain(removed.map(|(_, index)| *index));
        let index = changes.max().unwrap_or(self.index);
        if order.index > 0 && index <= order.index && self.now < order.until {
            return None;
        }
        let entries = keys.map(|(name, key)| {
            let mut entry = json!({
                "Key": name,
                "Flags": 0,
                "Value": BASE64_STANDARD.encode(&key.value),
                "LockIndex": key.locked,
                "CreateIndex": key.created,
                "ModifyIndex": key.modified,
            });
            if let Some(session) = &key.session {
                entry["Session"] = json!(session);
            }
            entry
        });
        let entries: Vec<Value> = entries.collect();
        let mut answer = if entries.is_empty() {
            plain(404, "")
        } else {
            text(json!(entries).to_string())
        };
        answer.header("X-Consul-Index", &index.to_string());
        Some(answer)
    }

    fn write(&mut self, name: &str, incoming: &Incoming) -> Answer {
        let value = incoming.body.to_vec();
        if let Some(session) = wire::parameter(&incoming.query, "acquire") {
            if !self.sessions.contains_key(&session) {
                return plain(500, &format!("invalid session \"{session}\""));
            }
            return text(self.acquire(name, session, value).to_string());
        }
        if let Some(session) = wire::parameter(&incoming.query, "release") {
            let index = self.index + 1;
            let key = self.keys.get_mut(name);
            let held = key.filter(|key| key.session.as_ref() == Some(&session));
            let done = held.map(|key| {
                key.session = None;
                key.value = value;
                key.modified = index;
            });
            self.index += u64::from(done.is_some());
            return text(done.is_some().to_string());
        }
        self.write_key(name, &String::from_utf8_lossy(&value));
        text("true".to_owned())
    }

    fn acquire(&mut self, name: &str, session: String, value: Vec<u8>) -> bool {
        let is_delayed = self.delays.get(name).is_some_and(|until| *until > self.now);
        let index = self.index + 1;
        match self.keys.get_mut(name) {
            Some(key) if key.session.as_ref() == Some(&session) => {
                if key.value != value {
                    key.value = value;
                    key.modified = index;
                    self.index = index;
                }
            }
            Some(key) if key.session.is_some() || is_delayed => return false,
            None if is_delayed => return false,
            Some(key) => {
                key.session = Some(session);
                key.value = value;
                key.modified = index;
                key.locked += 1;
                self.index = index;
            }
            None => {
                let key = Key {
                    value,
                    session: Some(session),
                    created: index,
                    modified: index,
                    locked: 1,
                };
                self.keys.insert(name.to_owned(), key);
                self.index = index;
            }
        }
        true
    }
}

fn text(text: String) -> Answer {
    Answer::text(200, text)
}

/// Consul says what is wrong as plain text.
fn plain(status: u16, text: &str) -> Answer {
    Answer::plain(status, "text/plain; charset=utf-8", text.to_owned())
}
