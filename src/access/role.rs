//! Roles, and sets of them.

use std::fmt;
use std::str::FromStr;

/// What a principal may do. The table of endpoints says which calls each role may make.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Reads availability, and makes, changes and reads reservations.
    Checkout,
    /// Reads pools and reservations.
    Viewer,
    /// Reads as a viewer, and defines and changes pools.
    Planner,
    /// Reads as a viewer, and looks after logs, clocks and dead letters.
    Operator,
    /// Reads the metrics of a process.
    Metrics,
}

impl Role {
    /// Every role, once.
    pub const ALL: [Role; 5] = [Role::Checkout, Role::Viewer, Role::Planner, Role::Operator, Role::Metrics];

    /// Its name in settings, tokens and claims.
    pub fn name(self) -> &'static str {
        match self {
            Role::Checkout => "checkout",
            Role::Viewer => "viewer",
            Role::Planner => "planner",
            Role::Operator => "operator",
            Role::Metrics => "metrics",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Role::Checkout => 1,
            Role::Viewer => 2,
            Role::Planner => 4,
            Role::Operator => 8,
            Role::Metrics => 16,
        }
    }
}

/// A text that names no role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRole;

impl fmt::Display for NoRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has to be one of checkout, viewer, planner, operator, metrics")
    }
}

impl std::error::Error for NoRole {}

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Role, NoRole> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or(NoRole)
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

impl Roles {
    /// The set without a role: such a caller may do only what everybody may.
    pub const NONE: Roles = Roles(0);
    /// The set of all roles.
    pub const ALL: Roles = Roles::of(&Role::ALL);

    /// The set of these roles.
    pub const fn of(roles: &[Role]) -> Roles {
        let (mut bits, mut rest) = (0, roles);
        while let [role, others @ ..] = rest {
            bits |= role.bit();
            rest = others;
        }
        Roles(bits)
    }

    /// Whether a role is in both sets.
    pub const fn meet(self, other: Roles) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it holds no role.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its roles, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.meet(Roles::of(&[*role])))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Roles {
        roles.into_iter().fold(Roles::NONE, |all, role| Roles(all.0 | role.bit()))
    }
}

/// Names, separated by commas.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Role::name).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        assert_eq!(Roles::ALL.iter().collect::<Vec<_>>(), Role::ALL);
        assert!(Roles::NONE.is_empty() && Roles::NONE.iter().next().is_none() && !Roles::NONE.meet(Roles::ALL));
        for role in Role::ALL {
            let (alone, others) = (Roles::of(&[role]), Role::ALL.into_iter().filter(|other| *other != role));
            assert!(alone.meet(Roles::ALL) && !alone.meet(others.collect()), "{role:?}");
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert_eq!(Roles::of(&[Role::Planner, Role::Viewer]).to_string(), "viewer,planner");
        assert_eq!("admin".parse::<Role>(), Err(NoRole));
    }
}
