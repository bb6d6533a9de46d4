-- Checks the leases of an instance in many rooms, and postpones the expiry of those whose last half hour began.
--
-- KEYS[3n - 2], KEYS[3n - 1], KEYS[3n]  instances, version and users of a room: KEYS[1] to KEYS[3] of presence.lua. With one
--                                       server, of many rooms; in a cluster of one, because each room has its own slot
-- ARGV[1]                               instance
--
-- Reply: for each room the version of its last change, or -1 if the lease is lost, or -2 if it cannot be checked, because
-- a key has another type, is not permitted, or Redis refuses writes. The other leases are checked all the same.

-- As in presence.lua, in ms.
local EXPIRY = 3600000

local function check(instances, version, users)
  local remaining = redis.call('PTTL', users)
  -- The users' key can be missing while the lease exists if an operator deleted it.
  if remaining == -2 or redis.call('SISMEMBER', instances, ARGV[1]) == 0 then
    return -1
  end
  if remaining < EXPIRY / 2 then
    for _, key in ipairs({instances, version, users}) do
      redis.call('PEXPIRE', key, EXPIRY)
    end
  end
  return tonumber(redis.call('GET', version) or 0)
end

local statuses = {}
for first = 1, #KEYS, 3 do
  local is_checked, status = pcall(check, KEYS[first], KEYS[first + 1], KEYS[first + 2])
  statuses[#statuses + 1] = is_checked and status or -2
end
return statuses
