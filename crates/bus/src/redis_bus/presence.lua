-- Who of a room is at which holder: enter, shift, beat or present. One script, because all of them first end the leases
-- that ran out. One hash slot: all keys share the hash tag {room}. Those of the holders cannot be named in advance.
--
-- KEYS[1]  leases  zset; a holder with users here, and when its lease runs out, in ms of Redis's clock
-- KEYS[2]  turn    string; number of the room's last change. Begins at the time in ms, so that numbers grow even after
--                  everything was lost
-- <KEYS[1]>:<holder>  set; its users
-- ARGV[1]  what to do
-- ARGV[2]  holder
-- ARGV[3]  after how long without a renewal a lease may be ended, in ms
-- ARGV[4]  1 if leases of others may be ended: not within one lease of having (re)gained this Redis
-- ARGV[5]  channel to tell changes on
-- enter    ARGV[6…]  users                                     reply: turn
-- shift    ARGV[6]   how many came; ARGV[7…] they, then who went   reply: turn, or -1 where the lease is lost
-- beat                                                        reply: turn, or -1 where the lease is lost
-- present                                                     reply: turn, then holder, users, holder, users …
--
-- A change is told as p<turn> <holder> and then, a space before each: = and all users, or +user and -user, or ! where
-- the lease ran out, or nothing where all left. The turn is counted first, and INCR is what a Redis without memory refuses: then nothing
-- was changed, and nobody told.

local leases, turn = KEYS[1], KEYS[2]
local what, holder, lease, may_end, channel = unpack(ARGV, 1, 5)
-- Longer than any outage after which leases are to be found again; until somebody comes to the room and ends them.
local KEEP = 3600000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function count()
  if redis.call('EXISTS', turn) == 0 then
    redis.call('SET', turn, string.format('%.0f', now), 'PX', KEEP)
    return now
  end
  return redis.call('INCR', turn)
end

local function tell(number, who, words)
  redis.call('PUBLISH', channel, string.format('p%.0f ', number) .. who .. words)
end

local function last()
  return tonumber(redis.call('GET', turn) or 0)
end

local function finish(who, words)
  local number = count()
  redis.call('ZREM', leases, who)
  redis.call('DEL', leases .. ':' .. who)
  tell(number, who, words)
  return number
end

local users = leases .. ':' .. holder

local function renew()
  redis.call('ZADD', leases, string.format('%.0f', now + tonumber(lease)), holder)
end

local function keep()
  for _, key in ipairs({leases, turn, users}) do
    redis.call('PEXPIRE', key, KEEP)
  end
end

-- SADD and SREM of any number of users: unpack() is bounded by Lua's stack.
local function each(command, from, to)
  for first = from, to, 1000 do
    redis.call(command, users, unpack(ARGV, first, math.min(first + 999, to)))
  end
end

if may_end == '1' then
  for _, who in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', string.format('%.0f', now))) do
    if who ~= holder then
      finish(who, ' !')
    end
  end
end

if what == 'present' then
  -- The first number of a room is given by its first reader, so that the first change follows it.
  if redis.call('EXISTS', turn) == 0 then
    redis.pcall('SET', turn, string.format('%.0f', now), 'PX', KEEP)
  end
  local reply = {string.format('%.0f', last())}
  for _, who in ipairs(redis.call('ZRANGE', leases, 0, -1)) do
    reply[#reply + 1] = who
    reply[#reply + 1] = redis.call('SMEMBERS', leases .. ':' .. who)
  end
  return reply
end

if what == 'enter' then
  if #ARGV == 5 then
    if redis.call('ZSCORE', leases, holder) then
      return finish(holder, '')
    end
    return last()
  end
  local number = count()
  redis.call('DEL', users)
  each('SADD', 6, #ARGV)
  renew()
  keep()
  tell(number, holder, ' = ' .. table.concat(ARGV, ' ', 6))
  return number
end

-- The set may be gone without the lease where keys were deleted by hand.
local left = redis.call('PTTL', users)
if left == -2 or not redis.call('ZSCORE', leases, holder) then
  return -1
end

if what == 'beat' then
  renew()
  -- Beats are many, so what they write is little.
  if left < KEEP / 2 then
    keep()
  end
  return last()
end

local came = tonumber(ARGV[6])
local number = count()
each('SREM', 7 + came, #ARGV)
each('SADD', 7, 6 + came)
if redis.call('SCARD', users) == 0 then
  redis.call('ZREM', leases, holder)
  tell(number, holder, '')
  return number
end
renew()
keep()
local words = {}
for index = 7, #ARGV do
  words[#words + 1] = (index < 7 + came and ' +' or ' -') .. ARGV[index]
end
tell(number, holder, table.concat(words))
return number
