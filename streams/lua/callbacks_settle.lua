-- callbacks_settle: write how deliveries ended and let go of their entries, each fenced by its token.
--
-- uses  ledger append callbacks
-- KEYS  gate          -     deleted first: a write that needs no memory opens the script at maxmemory
--       callback_due  ZSET  callbacks by the time of their next attempt
-- ARGV  failures_max  int  failures in a row that open an endpoint's breaker
--       window        int  so do failures of more than half of so many deliveries
--       open_ms       int  how long a breaker is open first; each failed probe doubles it
--       open_max_ms   int  up to this
--       give_up_ms    int  an endpoint that only fails for so long is disabled
--       rest...  id, token, kind, delay_ms, status, took_ms, error, reason, answer, health: kind is
--                delivered, retry, put_back (the attempt does not count), dead, or gone (dead, and
--                the endpoint is disabled unless it was changed meanwhile); health is good, bad or
--                empty for what says nothing of the endpoint
-- Returns flat, for each: settled, already or lost; and what became of its endpoint: disabled,
-- opened, closed or nothing.
-- A retry of an ordered endpoint keeps entry and lease: it is leased again when the lease runs out,
-- and nothing behind it before.
local LOG_MAX, FIELDS = 8192, 10
redis.call('DEL', gate)
failures_max, window, open_ms = tonumber(failures_max), tonumber(window), tonumber(open_ms)
open_max_ms, give_up_ms = tonumber(open_max_ms), tonumber(give_up_ms)

-- ------------------------------------------------------------ the endpoint's health
local function disable(name, edition, why)
  local endpoint = endpoint_of(name)
  if endpoint.disabled or endpoint.edition ~= edition or not is_known(name) then return '' end
  endpoint.disabled = why
  redis.call('HSET', endpoint_ .. name, 'disabled', why, 'disabled_at', now_text)
  return 'disabled'
end

local function span(ms)
  if ms >= 172800000 then return math.floor(ms / 86400000) .. ' days' end
  if ms >= 7200000 then return math.floor(ms / 3600000) .. ' hours' end
  return math.floor(ms / 1000) .. ' seconds'
end

local function open_breaker(name, endpoint, for_ms)
  endpoint.open, endpoint['until'] = for_ms, now + for_ms
  redis.call('HSET', endpoint_ .. name, 'open', for_ms, 'until', string.format('%d', now + for_ms))
  redis.call('HDEL', endpoint_ .. name, 'probe')
  return 'opened'
end

local function went_well(name, endpoint)
  local key = endpoint_ .. name
  local recent = redis.call('HMGET', key, 'recent', 'failing')
  if endpoint.open then
    redis.call('HDEL', key, 'open', 'until', 'probe', 'fails', 'failing', 'recent')
    endpoint.open, endpoint['until'] = nil, 0
    return 'closed'
  end
  if recent[2] then redis.call('HDEL', key, 'fails', 'failing') end
  if recent[1] then -- kept while a failure is among the last ones
    local kept = string.sub(recent[1] .. '1', -window)
    if string.find(kept, '0') then redis.call('HSET', key, 'recent', kept) else redis.call('HDEL', key, 'recent') end
  end
  return ''
end

local function went_wrong(name, endpoint, token, edition)
  local key = endpoint_ .. name
  local row = redis.call('HMGET', key, 'probe', 'recent', 'failing')
  if endpoint.open and row[1] ~= token then return '' end -- it was under way when the breaker opened
  local fails = redis.call('HINCRBY', key, 'fails', 1)
  if not row[3] then redis.call('HSET', key, 'failing', now_text) end
  if fails >= failures_max and now - tonumber(row[3] or now) >= give_up_ms then
    local what = disable(name, edition, 'nothing but failures for ' .. span(give_up_ms))
    if what ~= '' then return what end
  end
  if endpoint.open then return open_breaker(name, endpoint, math.min(endpoint.open * 2, open_max_ms)) end
  local recent = string.sub((row[2] or '') .. '0', -window)
  redis.call('HSET', key, 'recent', recent)
  local _, failed = string.gsub(recent, '0', '')
  if fails >= failures_max or failed > window / 2 then return open_breaker(name, endpoint, open_ms) end
  return ''
end

local function judge(name, token, edition, health)
  local endpoint = endpoint_of(name)
  if health == 'good' then return went_well(name, endpoint) end
  if health == 'bad' and is_known(name) then return went_wrong(name, endpoint, token, edition) end
  return ''
end

-- ------------------------------------------------------------ the callback
local function write_log(key, log, status, took_ms, error, reason, answer)
  log = (log or '') .. table.concat({ now_text, status, took_ms, error, reason, answer }, '\t') .. '\n'
  if #log > LOG_MAX then log = string.match(string.sub(log, -LOG_MAX), '\n(.*)$') end
  redis.call('HSET', key, 'log', log)
end

local function settle(id, token, kind, delay_ms, status, took_ms, error, reason, answer, health)
  local key = callback_ .. id
  local row = redis.call('HMGET', key, 'token', 'entry', 'status', 'log', 'endpoint', 'host', 'edition')
  if not row[3] then return 'lost', '' end
  if row[1] == 'settled ' .. token then return 'already', '' end
  if row[1] ~= token then return 'lost', '' end
  local entry, name, edition = row[2], row[5], row[7] or ''
  local held = false
  leave_host(id, row[6])
  if kind == 'put_back' then
    redis.call('HINCRBY', key, 'tries', -1)
  else
    write_log(key, row[4], status, took_ms, error, reason, answer)
  end
  if kind == 'delivered' then
    end_callback(id, 'delivered')
  elseif kind == 'dead' or kind == 'gone' then
    end_callback(id, 'dead', reason)
  else
    local due = string.format('%d', now + delay_ms)
    held = endpoint_of(name).ordered
    if held then
      redis.call('ZADD', callback_leases, due, lease_of(id, entry, name))
    else
      redis.call('ZADD', callback_due, due, id)
    end
    redis.call('HSET', key, 'due', due)
  end
  redis.call('HSET', key, 'token', 'settled ' .. token)
  local what = judge(name, token, edition, health)
  if kind == 'gone' then
    local disabled = disable(name, edition, reason)
    if disabled ~= '' then what = disabled end
  end
  if not held then let_go_of(name, id, entry) end
  local endpoint = endpoint_of(name)
  seat(name, endpoint.disabled and now or math.max(now, endpoint['until']))
  return 'settled', what
end

local answers = {}
for i = rest, #ARGV, FIELDS do
  local answer, what = settle(unpack(ARGV, i, i + FIELDS - 1))
  answers[#answers + 1], answers[#answers + 2] = answer, what
end
return answers
