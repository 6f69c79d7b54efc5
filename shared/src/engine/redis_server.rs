//! Redis, Valkey and their kin: all requests go over one connection, none waits for another's answer.

use super::{Before, Fault, LISTED_MAX, Listed, Object};
use crate::bundle::{CHECK_AT, CHECK_BYTES};
use crate::location::Location;
use crate::name::Name;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError};
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// What names begin with, where the user says nothing.
const PREFIX: &str = "rcache:";
/// Names that one step of a list asks for.
const SCAN_COUNT: usize = 1_000;
/// A connection that breaks is made anew, this often at once; more is for whoever retries.
const RECONNECTS: usize = 1;

/// Replaces a bundle that is still in the state in which it was read; the state is in its bytes.
const REPLACE: &str = "local now = redis.call('GETRANGE', KEYS[1], ARGV[1], ARGV[2]) \
     if now ~= ARGV[3] then return 0 end \
     if ARGV[5] == '0' then redis.call('SET', KEYS[1], ARGV[4]) \
     else redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) end \
     return 1";

/// A server, or a cluster of them.
pub struct RedisServer {
    open: Mutex<Option<Connection>>,
    target: Target,
    prefix: String,
    ttl: Option<Duration>,
    timeout: Duration,
}

enum Target {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

#[derive(Clone)]
enum Connection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

impl RedisServer {
    /// Sets it up.
    pub fn new(location: &Location) -> Result<RedisServer, String> {
        let failed = |error: RedisError| error.category().to_owned();
        let info = url(location).into_connection_info().map_err(failed)?;
        let mut settings = info.redis_settings().clone();
        if let Some(user) = &location.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &location.password {
            settings = settings.set_password(password.reveal());
        }
        let info = info.set_redis_settings(settings);
        let target = match location.cluster {
            true => Target::Cluster(Box::new(ClusterClient::new(vec![info]).map_err(failed)?)),
            false => Target::One(Box::new(Client::open(info).map_err(failed)?)),
        };
        Ok(RedisServer {
            open: Mutex::default(),
            target,
            prefix: location.attribute("prefix").unwrap_or(PREFIX).to_owned(),
            ttl: location.ttl,
            timeout: location.timeout,
        })
    }

    /// The object: no more of it than allowed comes over the wire.
    pub async fn get(&self, object: &str, limit: usize) -> Result<Option<Object>, Fault> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(self.key(object)).arg(0).arg(limit);
        let bytes: Vec<u8> = self.ask(&command).await?;
        match bytes.len() {
            // Nothing that is stored is empty.
            0 => Ok(None),
            length if length > limit => Err(Fault::TooLarge),
            _ => Ok(Some(Object { bytes, tag: None })),
        }
    }

    /// Whether it is there.
    pub async fn has(&self, object: &str) -> Result<bool, Fault> {
        self.ask(redis::cmd("EXISTS").arg(self.key(object))).await
    }

    /// Puts it there.
    pub async fn put(&self, object: &str, bytes: Vec<u8>, before: &Before) -> Result<(), Fault> {
        let wanted: Option<Vec<u8>> = match before {
            Before::Whatever => None,
            Before::Nothing => Some(Vec::new()),
            Before::State { check, .. } => check.map(|check| check.to_vec()),
        };
        let ttl = self.ttl.map_or(0, |ttl| ttl.as_millis() as u64);
        let mut command = match &wanted {
            Some(wanted) => {
                let mut command = redis::cmd("EVAL");
                command.arg(REPLACE).arg(1).arg(self.key(object));
                command
                    .arg(CHECK_AT)
                    .arg(CHECK_AT + CHECK_BYTES - 1)
                    .arg(wanted)
                    .arg(&bytes)
                    .arg(ttl);
                command
            }
            None => self.set(object, &bytes, ttl),
        };
        match self.ask::<i64>(&command).await {
            Ok(0) => Err(Fault::Overtaken),
            // A server that lets nobody run scripts.
            Err(Fault::Refused(_)) if wanted.is_some() => {
                command = self.set(object, &bytes, ttl);
                self.ask::<redis::Value>(&command).await.map(drop)
            }
            Ok(_) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    fn set(&self, object: &str, bytes: &[u8], ttl: u64) -> Cmd {
        let mut command = redis::cmd("SET");
        command.arg(self.key(object)).arg(bytes);
        if ttl > 0 {
            command.arg("PX").arg(ttl);
        }
        command
    }

    /// Removes it.
    pub async fn remove(&self, object: &str) -> Result<(), Fault> {
        self.ask::<i64>(redis::cmd("DEL").arg(self.key(object))).await.map(drop)
    }

    /// All objects, with when each was last used, where the server remembers that.
    pub async fn list(&self) -> Result<Vec<Listed>, Fault> {
        if let Target::Cluster(_) = self.target {
            return Err(Fault::Refused("a cluster of Redis is to expire its objects".to_owned()));
        }
        let (mut listed, mut cursor) = (Vec::new(), 0_u64);
        let now = SystemTime::now();
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(format!("{}*", self.prefix));
            command.arg("COUNT").arg(SCAN_COUNT);
            let (next, keys): (u64, Vec<String>) = self.ask(&command).await?;
            for key in keys {
                let path = key.strip_prefix(&self.prefix).unwrap_or(&key);
                let Some(name) = Name::from_path(path) else { continue };
                let bytes = self.ask(redis::cmd("STRLEN").arg(&key)).await?;
                let idle = self.ask::<u64>(redis::cmd("OBJECT").arg("IDLETIME").arg(&key)).await;
                let used = idle.ok().and_then(|idle| now.checked_sub(Duration::from_secs(idle)));
                listed.push(Listed { name, bytes, used });
            }
            cursor = next;
            if cursor == 0 || listed.len() >= LISTED_MAX {
                return Ok(listed);
            }
        }
    }

    fn key(&self, object: &str) -> String {
        format!("{}{object}", self.prefix)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        let answer = match self.connection().await? {
            Connection::One(mut one) => one.req_packed_command(command).await,
            Connection::Cluster(mut cluster) => cluster.req_packed_command(command).await,
        };
        let value = match answer {
            Ok(value) => value,
            Err(error) => {
                let fault = fault(&error);
                if fault.is_temporary() {
                    // Whoever comes next makes a new one.
                    *self.open.lock().await = None;
                }
                return Err(fault);
            }
        };
        redis::from_redis_value(value.extract_error().map_err(|error| fault(&error))?)
            .map_err(|_| Fault::Refused("an answer of another type".to_owned()))
    }

    async fn connection(&self) -> Result<Connection, Fault> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &*open {
            return Ok(connection.clone());
        }
        let connection = match &self.target {
            Target::One(client) => {
                let config = ConnectionManagerConfig::new()
                    .set_number_of_retries(RECONNECTS)
                    .set_connection_timeout(Some(self.timeout))
                    .set_response_timeout(Some(self.timeout));
                let manager = ConnectionManager::new_with_config(client.as_ref().clone(), config);
                manager.await.map(Connection::One)
            }
            Target::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
        };
        let connection = connection.map_err(|error| fault(&error))?;
        *open = Some(connection.clone());
        Ok(connection)
    }
}

/// The URL without its login, which goes another way.
fn url(location: &Location) -> String {
    match location.scheme_name.as_str() {
        "redis+unix" => format!("redis+unix://{}", location.path),
        "valkey" => format!("redis://{}{}", location.authority, location.path),
        "valkeys" => format!("rediss://{}{}", location.authority, location.path),
        scheme => format!("{scheme}://{}{}", location.authority, location.path),
    }
}

fn fault(error: &RedisError) -> Fault {
    let code = error.code().unwrap_or_default();
    if error.is_timeout() {
        return Fault::Timeout;
    }
    match error.kind() {
        ErrorKind::Io => Fault::Unreachable("the connection broke".to_owned()),
        _ if error.is_io_error() || error.is_connection_dropped() => {
            Fault::Unreachable("it cannot be reached".to_owned())
        }
        _ if ["LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN"].contains(&code) => {
            Fault::Busy(code.to_owned())
        }
        // Memory is full, and nothing may be evicted.
        _ if code == "OOM" => Fault::Refused("its memory is full".to_owned()),
        _ if code.is_empty() => Fault::Refused(error.category().to_owned()),
        _ => Fault::Refused(code.to_owned()),
    }
}
