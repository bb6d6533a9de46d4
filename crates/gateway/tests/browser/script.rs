//! The few questions that are put to a page by script; all else is asked as a person would, by looking and typing.

/// Delivered messages, top down.
pub(crate) const MESSAGES: &str = r"
return [...document.querySelectorAll('#messages .message')].map((row) => ({
  pos: row.dataset.pos,
  own: row.classList.contains('own'),
  text: row.querySelector('.text').textContent,
}));";

/// Own messages that are not delivered yet.
pub(crate) const UNSENT: &str = r"
return [...document.querySelectorAll('#unsent .message .text')].map((text) => text.textContent);";

/// From now on every change of the connection is written down with its time.
pub(crate) const WATCH: &str = r"
const state = document.getElementById('connection');
const note = () => watched.push({ at: Date.now(), state: state.dataset.state, text: state.textContent });
window.watched = [];
note();
new MutationObserver(note).observe(state, { attributes: true, childList: true, characterData: true, subtree: true });";

/// What was written down.
pub(crate) const WATCHED: &str = "return window.watched;";

/// What has focus, in a few words, and whether one can see that it has it.
pub(crate) const FOCUS: &str = r"
const focused = document.activeElement;
const { outlineStyle, outlineWidth } = getComputedStyle(focused);
return {
  what: focused === document.body ? 'BODY' : focused.id || (focused.textContent.trim() || focused.tagName).slice(0, 40),
  visible: outlineStyle !== 'none' && parseFloat(outlineWidth) > 0,
};";

/// What sticks out of the page on the right.
pub(crate) const TOO_WIDE: &str = r"
const width = document.documentElement.clientWidth;
const out = [...document.querySelectorAll('body *')].filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > width + 1);
return out.map((each) => `${each.tagName} ${each.id} ${each.className} ${Math.round(each.getBoundingClientRect().right)} of ${width}`);";
