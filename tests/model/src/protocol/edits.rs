//! What people do to the resource.

use std::time::Duration;

use fabric_job_operator::cancellation::Facts;

use crate::shared::Shared;

use super::world::{Edition, World, wish};
use super::{Action, Edit, Protocol};

impl Protocol {
    /// What people may do now.
    pub fn people_actions(&self, world: &World, out: &mut Vec<Action>) {
        let newest = world.newest();
        for edit in self.edits {
            match edit {
                Edit::Recreate if !newest.present => out.push(Action::Person(Edit::Recreate)),
                Edit::Restore(_) if !newest.present => {
                    let any = 0..world.tip();
                    out.extend(any.map(|k| Action::Person(Edit::Restore(k))));
                }
                Edit::Recreate | Edit::Restore(_) => {}
                Edit::Delete if newest.wish.deleting => {}
                other if newest.present => out.push(Action::Person(*other)),
                _ => {}
            }
        }
    }

    /// Somebody acts on the resource.
    pub fn edit(&self, world: &mut World, edit: Edit) {
        world.spent.edits += 1;
        let mut next = world.newest().clone();
        match edit {
            Edit::Suspend => {
                next.wish.suspend = !next.wish.suspend;
                next.wish.generation += 1;
            }
            // Nothing that the core sees; the new resourceVersion is the edition's number.
            Edit::Label => {}
            Edit::Knob => {
                next.wish.active_deadline += Duration::from_secs(30);
                next.wish.generation += 1;
            }
            Edit::Delete => next.wish.deleting = true,
            Edit::Remove => next.present = false,
            Edit::Recreate | Edit::Restore(_) => {
                let facts = match edit {
                    Edit::Restore(k) => world.history[usize::from(k)].facts.clone(),
                    _ => Facts::default(),
                };
                let mut wish = wish(self.deadline);
                wish.created = super::world::at(world.now);
                next = Edition {
                    uid: next.uid + 1,
                    present: true,
                    wish,
                    facts,
                };
                world.ghost.repeats = 0;
                world.ghost.looked_late = None;
            }
        }
        world.history.push(Shared::new(next));
    }
}
