-- The keys of a session; loaded in front of the scripts that use them. Does what keyring.rs does and describes.
--
-- A ring is an array, oldest first; its last entry is the newest key. An entry:
--   digest  of the secret
--   salt    leads to the next entry; the newest has none
--   again   ms: when a second copy was last sent out; may be absent
--   dies    ms: when it stops being good, unless an older one is; absent until a newer one was presented

local MAX_SUPERSEDED = 4

-- The present in ms since the Unix epoch, by the clock of Redis.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Takes notice that a key was presented: the ring without dead keys, the place of the key in it (nil: not good), and
-- whether the ring has changed so that it must be stored.
local function present(ring, digest, now, grace)
  local good, at, noticed = {}, nil, false
  for _, key in ipairs(ring) do
    if #good > 0 or not key.dies or now < key.dies then
      good[#good + 1] = key
      if key.digest == digest then
        at = #good
      end
    end
  end
  for i = 1, (at or 1) - 1 do
    local older = good[i]
    if not older.dies and (not older.again or now >= older.again + grace) then
      older.dies, noticed = now + grace, true
    end
  end
  return good, at, noticed
end

-- Carries out a change ('keep', 'rotate' with digest and salt, 'renew' with digest) for the bearer of the key at a
-- place of the ring: the new ring, and the salts that lead from this key to the one that he gets.
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

-- Counts as use of a session: puts off its expiry and that of its name, never beyond its absolute limit.
local function extend(session, name, created, now, idle, max)
  local expires = string.format('%.0f', math.min(now + idle, created + max))
  local refused = redis.pcall('PEXPIREAT', session, expires)
  redis.pcall('PEXPIREAT', name, expires)
  return refused
end

