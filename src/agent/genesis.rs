//! Who this node is: read from the data folder, or made when the folder is new.

use std::net::SocketAddrV4;

use ed25519_dalek::SigningKey;
use ipnet::Ipv4Net;
use rcgen::KeyPair;

use crate::config::Config;
use crate::disk::identity::{IDENTITY, JOINING, REGISTERS, REGISTERS_COPY, VOTE};
use crate::disk::{Files, Identity, Joining, Registry, Vote, files, registry, sealed};
use crate::election::{Ballot, Register, Registers, Stamp, Voters};
use crate::features;
use crate::ids::{ClusterId, NodeId, Term};
use crate::time::Wall;
use crate::trust::{Admission, Authority, ClusterSettings, Member, Members, SignedMember};

/// So far a sole voter jumps when its vote is lost: terms grow by one an election, so this clears all it may have held.
const JUMP: u64 = 1 << 20;
/// By how much at most the run's number grows where the clock does not tell it: a disk that was given an older copy, on a
/// machine whose clock begins anew at every start, would else number two runs alike.
const STRIDE: u64 = 1 << 16;

/// The node's secrets, ready for use.
pub struct Genesis {
    /// What the identity file holds.
    pub identity: Identity,
    /// The node's key.
    pub key: SigningKey,
    /// The cluster.
    pub cluster: ClusterId,
    /// What is the same for all its members.
    pub settings: ClusterSettings,
    /// The ballot, and the incarnation of this start; durable already unless it is `owed`.
    pub vote: Vote,
    /// What voters have decided, as far as this node knows.
    pub registers: Registers,
    /// Whether the cluster was made just now.
    pub fresh: bool,
    /// Whether the disk takes no writes, so that `vote` is yet to be made durable.
    pub owed: bool,
}

impl Genesis {
    /// Returns the node's id.
    pub fn node_id(&self) -> NodeId {
        id_of(&self.key)
    }

    /// Returns the cluster's feature level, as far as this node knows.
    pub fn level(&self) -> u32 {
        level_of(&self.registers)
    }
}

/// Reads the cluster's feature level out of registers.
pub fn level_of(registers: &Registers) -> u32 {
    features::of(registers.get(features::REGISTER).map(|register| register.value.as_slice()))
}

/// Why a node cannot say who it is.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// A file cannot be read or written, or is damaged.
    #[error(transparent)]
    Sealed(#[from] sealed::SealError),
    /// A certificate or key is not what it should be.
    #[error(transparent)]
    Trust(#[from] crate::trust::TrustError),
    /// A key cannot be made.
    #[error("a key cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    /// The identity file holds no key, cluster or membership record that fit together.
    #[error("file identity is damaged: it holds no {0}")]
    Lacks(&'static str),
    /// The draft of an earlier attempt to join cannot be removed.
    #[error("file {JOINING}: {0}")]
    Draft(std::io::Error),
    /// What the cluster has sent is not a membership of this node.
    #[error("the cluster has answered without a membership record of this machine")]
    NoMembership,
    /// The settings are not those of the cluster in the data folder.
    #[error(
        "the data folder belongs to a node with {what} {there}, not {here}: give it back its {what}, or use another folder"
    )]
    Other {
        /// Which setting.
        what: &'static str,
        /// The folder's.
        there: String,
        /// The settings'.
        here: String,
    },
}

/// Tells of which cluster a data folder is, if of any.
///
/// # Errors
/// [`GenesisError`] if the identity cannot be read.
pub fn cluster_in(files: &dyn Files) -> Result<Option<ClusterId>, GenesisError> {
    sealed::read::<Identity>(files, IDENTITY)?.map(|identity| cluster_of(&identity)).transpose()
}

/// Takes name and ranges from a data folder that is a node's, unless they were given.
///
/// # Errors
/// [`GenesisError::Other`] if they were given and are others; or the identity cannot be read.
pub fn adopt(files: &dyn Files, config: &mut Config) -> Result<(), GenesisError> {
    let Some(identity) = sealed::read::<Identity>(files, IDENTITY)? else { return Ok(()) };
    let differ = |what, there: String, here: String| Err(GenesisError::Other { what, there, here });
    if let Some(given) = &config.given.node_name
        && !is_name_for(&identity.name, given)
    {
        return differ("node-name", identity.name, given.clone());
    }
    if let Some(given) = config.given.services
        && identity.service_range != given
    {
        return differ("services", identity.service_range.to_string(), given.to_string());
    }
    match (config.given.pods, identity.pods) {
        (Some(given), Some(known)) if given != known => return differ("pods", known.to_string(), given.to_string()),
        (_, None) if !config.pods.contains(&identity.pod_range) => {
            return differ("pods", identity.pod_range.to_string(), config.pods.to_string());
        }
        _ => {}
    }
    config.node_name.clone_from(&identity.name);
    config.services = identity.service_range;
    config.pods = identity.pods.unwrap_or(config.pods);
    Ok(())
}

/// Tells whether a node that asked for name `wish` may have got `name`: it gets a suffix if another was there first.
fn is_name_for(name: &str, wish: &str) -> bool {
    let suffix = name.strip_prefix(wish);
    name == wish || suffix.and_then(|s| s.strip_prefix('-')).is_some_and(|n| n.parse::<u32>().is_ok())
}

/// Reads the node's identity, or founds a cluster; then begins a new incarnation.
///
/// # Errors
/// [`GenesisError`].
pub fn load(files: &mut dyn Files, config: &Config, wall: Wall) -> Result<Genesis, GenesisError> {
    load_traced(files, config, wall, &|_| None)
}

/// Does as [`load`]. `traces` tells what the log says of a node that has lost ballot and registers, `None` if others
/// have written there too.
///
/// # Errors
/// [`GenesisError`].
pub fn load_traced(
    files: &mut dyn Files,
    config: &Config,
    wall: Wall,
    traces: &dyn Fn(NodeId) -> Option<Traces>,
) -> Result<Genesis, GenesisError> {
    let known: Option<Identity> = sealed::read(files, IDENTITY)?;
    let fresh = known.is_none();
    let mut identity = match known {
        Some(identity) => identity,
        None => found(files, config, wall)?,
    };
    let key = key_of(&identity.key)?;
    if identity.chain.is_empty() {
        first_member(files, &mut identity, &key, config, wall, fresh)?;
    }
    let mut registry = known_registry(files)?;
    if registry.is_none() && identity.chain.len() == 1 && !matches!(read_vote(files), Ok(Some(_))) {
        registry = traces(id_of(&key)).map(|traces| alone(&identity, id_of(&key), &traces));
    }
    let vote = next_vote(files, registry.as_ref(), id_of(&key), wall)?;
    let owed = !keep_vote(files, &vote)?;
    Ok(Genesis {
        cluster: cluster_of(&identity)?,
        settings: ClusterSettings { pods: identity.pods.unwrap_or(config.pods), services: identity.service_range },
        registers: registry.map_or_else(|| own_records(&identity), |r| r.registers),
        identity,
        key,
        vote,
        fresh,
        owed,
    })
}

/// What the log tells of a founder that has lost ballot and registers.
pub struct Traces {
    /// The newest term in which it has decided something.
    pub term: Term,
}

/// A founder in whose log nobody else has ever written is alone, and so the only voter.
fn alone(identity: &Identity, me: NodeId, traces: &Traces) -> Registry {
    tracing::warn!("ballot and registers are lost; nobody else has ever written here, so this node is the only voter");
    let voters = Voters { term: traces.term, version: 1, members: [me].into(), ..Voters::default() };
    Registry { voters, registers: own_records(identity) }
}

fn found(files: &mut dyn Files, config: &Config, wall: Wall) -> Result<Identity, GenesisError> {
    let key = SigningKey::from_bytes(&rand::random());
    let authority = Authority::new(KeyPair::generate()?, "skein", wall)?;
    let identity = Identity {
        key: hex::encode(key.to_bytes()),
        name: config.node_name.clone(),
        cluster: ClusterId::founded_by(id_of(&key)).to_string(),
        tag: 1,
        pod_range: config.pod_range(0).expect("the range holds one node's share at least"),
        service_range: config.services,
        pods: None,
        authority_key: Some(authority.key_pem()),
        authority: authority.pem().to_owned(),
        chain: Vec::new(),
        witness: false,
        seeds: Vec::new(),
    };
    // A vote that is there already is of a cluster that was never founded to the end.
    files::remove_if_there(files, VOTE).map_err(GenesisError::Draft)?;
    sealed::write(files, IDENTITY, &identity)?;
    Ok(identity)
}

/// Makes the founder a member of its cluster. Also done on the first start after a release that knew only one node.
fn first_member(
    files: &mut dyn Files,
    identity: &mut Identity,
    key: &SigningKey,
    config: &Config,
    wall: Wall,
    fresh: bool,
) -> Result<(), GenesisError> {
    let id = id_of(key);
    let member = Member {
        cluster: cluster_of(identity)?,
        id,
        name: identity.name.clone(),
        tag: identity.tag,
        pod_range: identity.pod_range,
        joined: wall,
        token: None,
        by: id,
    };
    let voters = Voters { term: Term(0), version: 1, members: [id].into(), ..Voters::default() };
    let signed = member.sign(key);
    let registry = Registry { voters: voters.clone(), registers: registers_of([signed.clone()]) };
    sealed::write(files, REGISTERS, &registry)?;
    let old = match read_vote(files)? {
        Some(vote) => vote,
        None if fresh => Vote::default(),
        None => lost_vote(Some(&registry), id, wall),
    };
    let term = old.ballot.as_ref().map_or(old.term, |ballot| ballot.term.max(old.term));
    let ballot = Ballot { term, voters, ..Ballot::default() };
    sealed::write(files, VOTE, &Vote { ballot: Some(ballot), ..old })?;
    identity.pods = Some(config.pods);
    identity.chain = vec![hex::encode(signed)];
    Ok(sealed::write(files, IDENTITY, identity)?)
}

/// Founds a cluster whose elections are for terms after `term`.
///
/// # Errors
/// [`GenesisError`].
pub fn found_after(files: &mut dyn Files, config: &Config, term: Term, wall: Wall) -> Result<Genesis, GenesisError> {
    let mut genesis = load(files, config, wall)?;
    if let Some(ballot) = &mut genesis.vote.ballot {
        ballot.term = ballot.term.max(term);
    }
    sealed::write(files, VOTE, &genesis.vote)?;
    Ok(genesis)
}

/// What a new member keeps.
pub struct Joined {
    /// Its key.
    pub key: SigningKey,
    /// What the leader has sent.
    pub admission: Admission,
    /// The authority's certificate, PEM.
    pub authority: String,
    /// The authority's key, if it was given.
    pub authority_key: Option<String>,
    /// Whether it shall run no pods.
    pub witness: bool,
    /// Where members are.
    pub seeds: Vec<SocketAddrV4>,
}

/// Makes this machine a member of `cluster`, durably.
///
/// # Errors
/// [`GenesisError::NoMembership`] if the admission has no chain to the cluster's founder, or is another machine's.
pub fn settle(files: &mut dyn Files, cluster: ClusterId, joined: Joined) -> Result<Member, GenesisError> {
    let Joined { key, admission, authority, authority_key, witness, seeds } = joined;
    if let Some(key) = &authority_key {
        Authority::of_pem(&authority, key)?;
    }
    let members = Members::of(cluster, admission.members.iter().map(Vec::as_slice));
    let member = members.get(&id_of(&key)).ok_or(GenesisError::NoMembership)?.clone();
    let identity = Identity {
        key: hex::encode(key.to_bytes()),
        name: member.name.clone(),
        cluster: cluster.to_string(),
        tag: member.tag,
        pod_range: member.pod_range,
        service_range: admission.settings.services,
        pods: Some(admission.settings.pods),
        authority_key,
        authority,
        chain: chain(&member, &admission.members),
        witness,
        seeds,
    };
    let registry = Registry { voters: Voters::default(), registers: registers_of(admission.members) };
    sealed::write(files, REGISTERS, &registry)?;
    sealed::write(files, VOTE, &Vote { ballot: Some(Ballot::default()), ..Vote::default() })?;
    // From here on the folder is a member's.
    sealed::write(files, IDENTITY, &identity)?;
    files::remove_if_there(files, JOINING).map_err(GenesisError::Draft)?;
    Ok(member)
}

/// Returns the key under which this machine asks to join `cluster`: that of an earlier attempt, or a new one, durably.
///
/// # Errors
/// [`GenesisError::Sealed`].
pub fn draft(files: &mut dyn Files, cluster: ClusterId) -> Result<SigningKey, GenesisError> {
    match sealed::read::<Joining>(files, JOINING) {
        Ok(Some(draft)) if draft.cluster == cluster.to_string() => return key_of(&draft.key),
        // Nobody has seen the key of a draft that is damaged or of another cluster here.
        Ok(_) | Err(sealed::SealError::Damaged { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let key = SigningKey::from_bytes(&rand::random());
    let draft = Joining { key: hex::encode(key.to_bytes()), cluster: cluster.to_string() };
    sealed::write(files, JOINING, &draft)?;
    Ok(key)
}

/// The records from `member` up to the founder, in hexadecimal.
fn chain(member: &Member, records: &[SignedMember]) -> Vec<String> {
    let read = |raw: &SignedMember| Member::read(raw).ok().map(|m| (m, raw.clone()));
    let table: Vec<_> = records.iter().filter_map(read).collect();
    let (mut chain, mut next) = (Vec::new(), Some(member.id));
    while let Some((link, raw)) = next.and_then(|id| table.iter().find(|(m, _)| m.id == id)) {
        chain.push(hex::encode(raw));
        // A chain is never longer than the table, whatever it says.
        next = (!link.is_founder() && chain.len() < table.len()).then_some(link.by);
    }
    chain
}

fn registers_of(records: impl IntoIterator<Item = SignedMember>) -> Registers {
    let entry = |value: SignedMember| {
        let id = Member::read(&value).ok()?.id;
        Some((Member::register(&id), Register { stamp: Stamp::default(), value }))
    };
    records.into_iter().filter_map(entry).collect()
}

/// Reads the registers; `None` if they are lost.
fn known_registry(files: &dyn Files) -> Result<Option<Registry>, GenesisError> {
    for name in [REGISTERS, REGISTERS_COPY] {
        match registry::read(files, name) {
            Ok(Some(registry)) => return Ok(Some(registry)),
            Ok(None) => tracing::warn!("the file {name} is not there"),
            Err(sealed::SealError::Damaged { reason, .. }) => tracing::warn!(%reason, "the file {name} is damaged"),
            Err(error) => return Err(error.into()),
        }
    }
    tracing::warn!("the registers are lost; the other members are to be learnt anew");
    Ok(None)
}

/// A member that has lost the registers still knows its own record and how it came in; the rest it learns.
fn own_records(identity: &Identity) -> Registers {
    registers_of(identity.chain.iter().filter_map(|text| hex::decode(text).ok()))
}

fn read_vote(files: &dyn Files) -> Result<Option<Vote>, GenesisError> {
    match sealed::read::<Vote>(files, VOTE) {
        Ok(vote) => Ok(vote),
        Err(sealed::SealError::Damaged { reason, .. }) => {
            tracing::warn!(%reason, "the vote file is damaged");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Raises the incarnation. If the vote is lost (rule 22), a sole voter goes on at a term above all it may have
/// held; any other comes back as none, and is made a voter anew by a leader. So does one that has lost the registers
/// which other voters count on.
fn next_vote(files: &dyn Files, registry: Option<&Registry>, me: NodeId, wall: Wall) -> Result<Vote, GenesisError> {
    let mut vote = match (read_vote(files)?, registry) {
        (Some(vote), registry) if vote.ballot.is_some() => {
            let sole = vote.ballot.as_ref().is_some_and(|ballot| ballot.voters.only(&me));
            if registry.is_some() || sole { vote } else { Vote { ballot: Some(no_ballot()), ..vote } }
        }
        (_, registry) => lost_vote(registry, me, wall),
    };
    // Ahead of every earlier run also where the disk was given an older copy, which has forgotten some.
    vote.incarnation = incarnation(wall).max(vote.incarnation + rand::random_range(1..STRIDE));
    Ok(vote)
}

/// Makes the vote durable. Returns `false` if the disk takes no writes: the agent runs from memory then, and nothing that
/// depends on the vote is said until it is written.
fn keep_vote(files: &mut dyn Files, vote: &Vote) -> Result<bool, GenesisError> {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match sealed::write(files, VOTE, vote) {
        Ok(()) => Ok(true),
        Err(sealed::SealError::Io { error, .. })
            if matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull) =>
        {
            tracing::error!("the data folder cannot be written: {error}: starting from what is there");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn lost_vote(registry: Option<&Registry>, me: NodeId, wall: Wall) -> Vote {
    let ballot = match registry.map(|r| &r.voters) {
        Some(voters) if voters.only(&me) => {
            tracing::warn!("going on far above every term that the lost vote may have been for");
            let (term, seat) = (Term(voters.term.0 + JUMP), voters.seat(&me));
            Ballot { term, voted_for: None, voters: voters.clone(), seat }
        }
        _ => no_ballot(),
    };
    // Runs were counted in the lost file.
    Vote { incarnation: incarnation(wall), ballot: Some(ballot), term: Term(0) }
}

/// Numbers a run by its time: no node starts a thousand times a second.
fn incarnation(wall: Wall) -> u64 {
    u64::try_from(wall.millis()).unwrap_or(JUMP)
}

fn no_ballot() -> Ballot {
    tracing::warn!("this node has lost what a voter must not forget, and is no voter until a leader makes it one");
    Ballot { seat: rand::random_range(1..u64::MAX), ..Ballot::default() }
}

fn id_of(key: &SigningKey) -> NodeId {
    NodeId(key.verifying_key().to_bytes())
}

/// Returns the key of which `seed` is the hexadecimal.
///
/// # Errors
/// [`GenesisError::Lacks`].
pub fn key_of(seed: &str) -> Result<SigningKey, GenesisError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(seed, &mut bytes).map_err(|_| GenesisError::Lacks("key"))?;
    Ok(SigningKey::from_bytes(&bytes))
}

/// Returns the cluster of an identity.
///
/// # Errors
/// [`GenesisError::Lacks`].
pub fn cluster_of(identity: &Identity) -> Result<ClusterId, GenesisError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(&identity.cluster, &mut bytes).map_err(|_| GenesisError::Lacks("cluster"))?;
    Ok(ClusterId(bytes))
}

/// Tells whether settings that were given are those of a cluster.
///
/// # Errors
/// [`GenesisError::Other`]'s sentence, for one that joins.
pub fn agree(config: &Config, settings: &ClusterSettings) -> Result<(), String> {
    let check = |what: &str, given: Option<Ipv4Net>, theirs: Ipv4Net| match given {
        Some(given) if given != theirs => {
            Err(format!("the cluster's {what} range is {theirs}, not {given}: leave --{what} out when joining"))
        }
        _ => Ok(()),
    };
    check("pods", config.given.pods, settings.pods)?;
    check("services", config.given.services, settings.services)
}

#[cfg(test)]
#[path = "genesis_tests.rs"]
mod tests;
