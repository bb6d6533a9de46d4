//! Scripts that read what WebDriver cannot. Everything else is done as a person would do it.

/// Returns the delivered messages, top down.
pub(crate) const MESSAGES: &str = r"
return [...document.querySelectorAll('#messages .message')].map((row) => ({
  pos: row.dataset.pos,
  own: row.classList.contains('own'),
  text: row.querySelector('.text').textContent,
}));";

/// Returns the texts of own messages that are not delivered.
pub(crate) const UNSENT: &str = r"
return [...document.querySelectorAll('#unsent .message .text')].map((text) => text.textContent);";

/// Records every change of the connection with its time.
pub(crate) const WATCH: &str = r"
const state = document.getElementById('connection');
const note = () => watched.push({ at: Date.now(), state: state.dataset.state, text: state.textContent });
window.watched = [];
note();
new MutationObserver(note).observe(state, { attributes: true, childList: true, characterData: true, subtree: true });";

/// Returns the recorded changes.
pub(crate) const WATCHED: &str = "return window.watched;";

/// Returns the id or text of the element with the focus, and whether its outline is visible.
pub(crate) const FOCUS: &str = r"
const focused = document.activeElement;
const { outlineStyle, outlineWidth } = getComputedStyle(focused);
return {
  what: focused === document.body ? 'BODY' : focused.id || (focused.textContent.trim() || focused.tagName).slice(0, 40),
  visible: outlineStyle !== 'none' && parseFloat(outlineWidth) > 0,
};";

/// Returns the elements that overflow the page on the right.
pub(crate) const OVERFLOWING: &str = r"
const width = document.documentElement.clientWidth;
const out = [...document.querySelectorAll('body *')].filter((each) => each.checkVisibility() && each.getBoundingClientRect().right > width + 1);
return out.map((each) => `${each.tagName} ${each.id} ${each.className} ${Math.round(each.getBoundingClientRect().right)} of ${width}`);";
