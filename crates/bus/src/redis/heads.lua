-- Compares the heads of logs with those that an instance knows.
--
-- KEYS[n]  log of a room, stream. With one server, of many rooms; in a cluster of one, because each room has its own slot
-- ARGV[n]  position at which that log should end; 0-0 if it should be empty
--
-- Reply: {n, head} of each log that ends elsewhere; {n, ''} of each that cannot be read, because its key has another type
-- or is not permitted. The other logs are compared all the same.

local changed = {}
for index, log in ipairs(KEYS) do
  local reply = redis.pcall('XREVRANGE', log, '+', '-', 'COUNT', 1)
  local head = ''
  if not reply.err then
    head = reply[1] and reply[1][1] or '0-0'
  end
  if head ~= ARGV[index] then
    changed[#changed + 1] = {index, head}
  end
end
return changed
