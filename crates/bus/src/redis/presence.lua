-- Presence of one room: which users are in it, and at which instance. One hash slot: all keys share the hash tag {room}.
-- Before this text is loaded, @PUBLISH@ is replaced by PUBLISH, or by SPUBLISH in a cluster.
--
-- KEYS[1]  instances  set; the instances that have users in the room
-- KEYS[2]  version    string; number of the room's last change. Starts at the time in ms, so that versions grow even
--                     after Redis lost its data
-- KEYS[3…] users      sets named <KEYS[1]>:<instance>; the users of the instance. For snapshot, those of the instances that
--                     the caller knows: every key that a script touches must be declared, or else it fails halfway while
--                     the slot migrates to another master
-- ARGV[1]  operation
-- ARGV[2]  instance; ignored by snapshot
-- ARGV[3]  channel to publish changes to
--
-- replace   ARGV[4…] users; none: the lease is given up           reply: version
-- update    ARGV[4] number of users that joined; ARGV[5…] they, then the users that left
--                                                                 reply: version, or -1 if the lease is lost
-- expire    ends the lease of a dead instance                     reply: version
-- snapshot                                                        reply: {version, instance, {users}, instance, {users} …}
--
-- A user is an id, or an id, a space and a name. A change is published as p<version> <instance>, followed, each after a
-- newline, by: = and all users (replace), or +user and -user (update), or ! (expire), or nothing (the last user left). The version is incremented first: INCR is the
-- command that a Redis without memory refuses, and then nothing is changed and nothing published.

local instances, version_key = KEYS[1], KEYS[2]
local operation, instance, channel = unpack(ARGV, 1, 3)
local users = KEYS[3]
-- Expiry of the keys, in ms. Longer than an outage after which leases must still be found; shorter than forever, because
-- in a room that no instance visits again nothing ends the leases of dead instances.
local EXPIRY = 3600000

local function now()
  local time = redis.call('TIME')
  return string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
end

local function next_version()
  local version = redis.call('INCR', version_key)
  if version == 1 then
    version = now()
    redis.call('SET', version_key, version, 'PX', EXPIRY)
  end
  return tonumber(version)
end

local function current_version()
  return tonumber(redis.call('GET', version_key) or 0)
end

local function publish(version, change)
  redis.call('@PUBLISH@', channel, string.format('p%.0f ', version) .. instance .. change)
end

local function refresh_expiry()
  for _, key in ipairs({instances, version_key, users}) do
    redis.call('PEXPIRE', key, EXPIRY)
  end
end

-- SADD or SREM with ARGV[from] to ARGV[to], 1,000 at a time: the Lua stack bounds unpack().
local function for_each_user(command, from, to)
  for first = from, to, 1000 do
    redis.call(command, users, unpack(ARGV, first, math.min(first + 999, to)))
  end
end

local function end_lease(change)
  if redis.call('SISMEMBER', instances, instance) == 0 then
    return current_version()
  end
  local version = next_version()
  redis.call('SREM', instances, instance)
  redis.call('DEL', users)
  publish(version, change)
  return version
end

if operation == 'snapshot' then
  -- The first reader of a room sets the first version, so that the first change follows it.
  redis.pcall('SET', version_key, now(), 'PX', EXPIRY, 'NX')
  local reply = {string.format('%.0f', current_version())}
  for _, member in ipairs(redis.call('SMEMBERS', instances)) do
    reply[#reply + 1] = member
    reply[#reply + 1] = redis.call('SMEMBERS', instances .. ':' .. member)
  end
  return reply
end

if operation == 'expire' then
  return end_lease('\n!')
end

if operation == 'replace' then
  if #ARGV == 3 then
    return end_lease('')
  end
  local version = next_version()
  redis.call('DEL', users)
  for_each_user('SADD', 4, #ARGV)
  redis.call('SADD', instances, instance)
  refresh_expiry()
  publish(version, '\n=\n' .. table.concat(ARGV, '\n', 4))
  return version
end

-- The users' key can be missing while the lease exists if an operator deleted it.
local remaining = redis.call('PTTL', users)
if remaining == -2 or redis.call('SISMEMBER', instances, instance) == 0 then
  return -1
end
if remaining < EXPIRY / 2 then
  refresh_expiry()
end

local joined = tonumber(ARGV[4])
local version = next_version()
-- SADD before SREM: the key, and its expiry with it, disappears only when the last user left.
for_each_user('SADD', 5, 4 + joined)
for_each_user('SREM', 5 + joined, #ARGV)
if redis.call('SCARD', users) == 0 then
  redis.call('SREM', instances, instance)
  publish(version, '')
  return version
end
local change = {}
for index = 5, #ARGV do
  change[#change + 1] = (index < 5 + joined and '\n+' or '\n-') .. ARGV[index]
end
publish(version, table.concat(change))
return version
