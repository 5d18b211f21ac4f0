//! A state of the model: what each server knows, packed into one number, and the same for all orders of the servers.

/// How many servers there are at most.
pub const MOST: usize = 4;
/// How many bits a server takes.
const WIDTH: usize = 14;

/// What a server knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// The newest term it takes part in.
    pub term: u8,
    /// Whether it leads that term.
    pub primary: bool,
    /// The version of its configuration.
    pub version: u8,
    /// The term of its configuration.
    pub config_term: u8,
    /// Who votes, a bit each.
    pub config: u8,
}

impl Server {
    /// Returns the name of its configuration; a newer one is greater.
    pub fn config_id(&self) -> (u8, u8) {
        (self.config_term, self.version)
    }

    fn pack(&self) -> u64 {
        let numbers =
            [(self.term, 3), (u8::from(self.primary), 1), (self.version, 3), (self.config_term, 3), (self.config, 4)];
        numbers.into_iter().fold(0, |all, (number, bits)| all << bits | u64::from(number))
    }

    fn unpack(mut bits: u64) -> Self {
        let mut next = |width: u32| {
            let number = (bits & ((1 << width) - 1)) as u8;
            bits >>= width;
            number
        };
        let (config, config_term, version, primary) = (next(4), next(3), next(3), next(1));
        Self { term: next(3), primary: primary == 1, version, config_term, config }
    }
}

/// All servers, in the order that makes the number the least.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct State(u64);

impl State {
    /// Makes the state of these servers, whose order is of no account.
    pub fn of(servers: &[Server]) -> Self {
        let mut least = u64::MAX;
        for order in orders(servers.len()) {
            let mut packed = 0;
            for from in order {
                let config = permute(servers[*from].config, order);
                packed = packed << WIDTH | Server { config, ..servers[*from] }.pack();
            }
            least = least.min(packed);
        }
        Self(least)
    }

    /// Returns the servers.
    pub fn servers(self, count: usize) -> Vec<Server> {
        (0..count).rev().map(|n| Server::unpack(self.0 >> (n * WIDTH) & ((1 << WIDTH) - 1))).collect()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for server in self.servers(MOST).iter().filter(|server| server.config != 0) {
            let role = if server.primary { "leads" } else { "follows" };
            let (term, voters) = (server.term, server.config);
            write!(f, "\n  {role} term {term}, configuration {:?} voters {voters:04b}", server.config_id())?;
        }
        Ok(())
    }
}

/// Returns a set of servers after they are put in another order: server `order[i]` becomes server i.
fn permute(set: u8, order: &[usize]) -> u8 {
    order.iter().enumerate().fold(0, |new, (to, from)| new | (set >> from & 1) << to)
}

/// Lists all orders of so many servers.
fn orders(count: usize) -> &'static [Vec<usize>] {
    static ORDERS: std::sync::OnceLock<Vec<Vec<Vec<usize>>>> = std::sync::OnceLock::new();
    &ORDERS.get_or_init(|| (0..=MOST).map(all_orders).collect())[count]
}

fn all_orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = all_orders(count - 1);
    let insert = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, count - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..count).map(|at| insert(order, at)).collect::<Vec<_>>()).collect()
}

#[test]
fn the_order_of_the_servers_is_of_no_account() {
    let server = |term, config| Server { term, config, version: 1, ..Server::default() };
    let (a, b, c) = (server(1, 0b011), server(2, 0b111), server(3, 0b010));
    // b, c, a: server 1 is now 0, 2 is 1, 0 is 2.
    let other = [Server { config: 0b111, ..b }, Server { config: 0b001, ..c }, Server { config: 0b101, ..a }];
    assert_eq!(State::of(&[a, b, c]), State::of(&other));
    assert_ne!(State::of(&[a, b, c]), State::of(&[a, b, b]));
    assert_eq!(State::of(&State::of(&[a, b, c]).servers(3)), State::of(&[a, b, c]));
    assert_eq!(all_orders(4).len(), 24);
}
