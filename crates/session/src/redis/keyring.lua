-- The keys of a session: the same rules as keyring.rs, which explains them. Prepended to the scripts that use it.
--
-- A ring is an array, oldest key first; the last entry is the newest key. It is stored as JSON. Fields of an entry:
--   digest  of the secret
--   salt    derives the next entry's secret; absent in the newest entry
--   again   when another copy of the key was last sent, ms; may be absent
--   dies    when the key expires unless an older one is still valid, ms; absent until a newer key is presented

local MAX_SUPERSEDED = 4

-- The time of Redis in ms since the Unix epoch.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Records that a key was presented. Returns the ring without expired keys, the index of the key in it (nil if it is not
-- valid), and whether an expiry was set, so that the ring must be stored.
local function present(ring, digest, now, grace)
  local valid, at, changed = {}, nil, false
  for _, key in ipairs(ring) do
    if #valid > 0 or not key.dies or now < key.dies then
      valid[#valid + 1] = key
      if key.digest == digest then
        at = #valid
      end
    end
  end
  for i = 1, (at or 1) - 1 do
    local older = valid[i]
    if not older.dies and (not older.again or now >= older.again + grace) then
      older.dies, changed = now + grace, true
    end
  end
  return valid, at, changed
end

-- Applies a change ('keep', 'rotate' with digest and salt, 'renew' with digest) for the bearer of the key at an index of
-- the ring. Returns the new ring, and the salts that derive the bearer's new secret from the presented one.
local function change(ring, at, what, digest, salt, now)
  local newest = #ring
  if what == 'renew' then
    return { { digest = digest } }, {}
  end
  if what == 'rotate' and at == newest and newest <= MAX_SUPERSEDED then
    ring[newest].salt = salt
    ring[newest + 1] = { digest = digest }
  elseif what == 'rotate' or at < newest then
    ring[newest].again = now
  end
  local salts = {}
  for i = at, #ring - 1 do
    salts[#salts + 1] = ring[i].salt
  end
  return ring, salts
end

-- Counts as use of a session: postpones its expiry and that of its name, up to the absolute limit. Returns the error
-- reply if Redis refuses the write, else 0 or 1.
local function extend(session, name, created, now, idle, max)
  local expires = string.format('%.0f', math.min(now + idle, created + max))
  local reply = redis.pcall('PEXPIREAT', session, expires)
  redis.pcall('PEXPIREAT', name, expires)
  return reply
end

